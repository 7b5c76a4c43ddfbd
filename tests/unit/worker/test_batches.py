import pytest

from worker.core.batches import MAX_PAUSE_S, Gathering, Limits, is_due, is_full, pause_s

LIMITS = Limits(max_rows=100, max_bytes=1_000, max_age_s=1.0)


def gathering(
    *,
    rows: int = 1,
    size: int = 10,
    age_s: float = 0.0,
    since_last_s: float = 60.0,
    is_drained: bool = True,
) -> Gathering:
    return Gathering(
        rows=rows, bytes=size, age_s=age_s, since_last_s=since_last_s, is_drained=is_drained
    )


@pytest.mark.parametrize(
    ("batch", "due"),
    [
        (gathering(rows=0), False),
        (gathering(), True),
        (gathering(is_drained=False), False),
        (gathering(since_last_s=0.1), False),
        (gathering(since_last_s=0.1, age_s=1.0), True),
        (gathering(rows=100, is_drained=False, since_last_s=0), True),
        (gathering(size=1_000, is_drained=False, since_last_s=0), True),
        (gathering(rows=99, size=999, is_drained=False, age_s=0.9), False),
    ],
    ids=[
        "nothing gathered",
        "a lone event goes at once",
        "more is coming",
        "the last insert was a moment ago",
        "old enough",
        "full of rows",
        "full of bytes",
        "one short of full",
    ],
)
def test_batch_is_due_when_it_should_go(batch: Gathering, due: bool) -> None:
    assert is_due(batch, LIMITS) is due


def test_batch_is_full_when_it_reaches_a_bound() -> None:
    assert is_full(gathering(rows=100), LIMITS)
    assert not is_full(gathering(rows=99), LIMITS)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (gathering(is_drained=False), 0.0),
        (gathering(since_last_s=0.0), MAX_PAUSE_S),
        (gathering(since_last_s=0.46), 0.04),
        (gathering(since_last_s=5.0), 0.0),
    ],
    ids=["more is there", "long to go", "nearly due", "due"],
)
def test_pause_lets_envelopes_gather_until_the_batch_is_due(
    batch: Gathering, expected: float
) -> None:
    assert pause_s(batch, LIMITS) == pytest.approx(expected)
