"""Lines alike: few are written, and none is left out uncounted."""

from worker.core.repeats import Repeats


def test_first_is_said_and_the_others_are_counted_until_the_time_is_over() -> None:
    repeats = Repeats()
    said = [repeats.due("a", now=now, every_s=60) for now in (0, 1, 59.9, 60, 61, 121)]
    assert said == [0, None, None, 2, None, 1]


def test_one_thing_does_not_silence_another() -> None:
    repeats = Repeats()
    assert repeats.due("a", now=0, every_s=60) == 0
    assert repeats.due("b", now=0, every_s=60) == 0


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    repeats = Repeats(max_keys=2)
    for now, key in enumerate("aba"):
        repeats.due(key, now=100 * now, every_s=60)
    repeats.due("c", now=210, every_s=60)
    assert repeats.due("a", now=220, every_s=60) is None
    assert repeats.due("c", now=220, every_s=60) is None
    assert repeats.due("b", now=110, every_s=60) == 0
