"""What a body may start; tests/conformance has the cases."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.runs_start import StartAsk, check_range, read_key, read_start, request_key
from gateway.core.runs_view import NamedFile, named_file
from sluice.core.errors import ErrorType, Rejected
from sluice.core.workflows import DEFAULTS
from worker.core.reconciling import span_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
DIGEST = "a" * 64


@given(st.binary(max_size=200))
def test_any_bytes_are_a_start_or_refused(body: bytes) -> None:
    found = read_start(body)
    assert isinstance(found, Rejected)
    assert found.detail.isprintable()


@given(st.dictionaries(st.sampled_from(["config_id", "inputs", "range_from", "run_mode"]), JSON))
def test_any_object_is_a_start_or_refused(body: dict[str, object]) -> None:
    found = read_start(orjson.dumps(body))
    assert isinstance(found, Rejected)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_digest_is_that_of_the_content(inputs: dict[str, object]) -> None:
    body = orjson.dumps({"config_id": "og-cohort", "inputs": inputs})
    reordered = orjson.dumps({"inputs": dict(reversed(inputs.items())), "config_id": "og-cohort"})
    spaced = orjson.dumps(orjson.loads(reordered), option=orjson.OPT_INDENT_2)
    first, second = read_start(body), read_start(spaced)
    assert isinstance(first, StartAsk)
    assert isinstance(second, StartAsk)
    assert first.digest == second.digest
    other = read_start(orjson.dumps({"config_id": "og-cohort2", "inputs": inputs}))
    assert isinstance(other, StartAsk)
    assert first.digest != other.digest


@pytest.mark.parametrize(
    ("values", "is_taken"),
    [([], True), (["k"], True), (["k" * 128], True), (["k" * 129], False), (["a", "a"], False)],
)
def test_key_is_one_short_visible_text(values: list[str], is_taken: bool) -> None:
    assert isinstance(read_key(values), Rejected) is not is_taken


def test_request_is_the_tenant_s_own() -> None:
    assert request_key("a", "k") != request_key("b", "k")


def test_inputs_must_be_an_object() -> None:
    found = read_start(b'{"config_id":"og-cohort","inputs":[1]}')
    assert isinstance(found, Rejected)
    assert found.error_type is ErrorType.RUN_REQUEST_INVALID


@pytest.mark.parametrize(
    ("since", "until", "is_taken"),
    [
        ("2026-01-01", "2026-02-01", True),
        ("2026-01-01", "2026-02-01T00:00:00.001", False),
        ("2026-01-01T00:30", "2026-02-01T00:00", True),
        ("2026-01-01T00:30", "2026-02-01T00:30", False),
        ("2026-01-01", None, True),
    ],
)
def test_range_is_refused_when_its_hours_are_more_than_the_type_takes(
    since: str, until: str | None, is_taken: bool
) -> None:
    given = {"range_from": since} | ({"range_to": until} if until else {})
    ask = read_start(orjson.dumps({"config_id": "cg-reconcile", **given}))
    assert isinstance(ask, StartAsk)
    refused = check_range(ask, DEFAULTS["cg-reconcile"])
    assert (refused is None) is is_taken
    assert refused is None or "at most 31 days" in refused.detail
    assert ask.range_from
    assert ask.range_to
    try:
        span_of(ask.range_from, ask.range_to, started_at=0.0)
    except ValueError:
        assert not is_taken, "the step would refuse what the start takes"
    else:
        assert is_taken, "the start refuses what the step would take"
    assert check_range(ask, DEFAULTS["cg-replay"]) is None


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("{}", NamedFile()),
        (f'{{"a":{{"$file":"x.csv","sha256":"{DIGEST}"}}}}', NamedFile(DIGEST)),
        (
            f'{{"a":[{{"file":"x.csv","sha256":"{DIGEST}","media_type":"text/csv; a=b"}}]}}',
            NamedFile(DIGEST, "text/csv"),
        ),
        (f'{{"name":"x.csv","sha256":"{DIGEST}","media_type":"a\\r\\nb/c"}}', NamedFile(DIGEST)),
        ('{"name":"x.csv","sha256":"no digest"}', NamedFile()),
        (f'{{"name":"y.csv","sha256":"{DIGEST}"}}', NamedFile()),
    ],
)
def test_file_is_described_as_the_outputs_name_it(outputs: str, expected: NamedFile) -> None:
    assert named_file(outputs, "x.csv") == expected
