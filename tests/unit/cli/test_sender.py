"""How far a sender is."""

from sluice.cli.sender import Tally


def test_progress_counts_what_is_settled_and_not_what_is_only_read() -> None:
    tally = Tally(read_bytes=1000, read_events=10)
    assert tally.settled_bytes == 0
    tally.queued, tally.skipped = 4, 1
    assert tally.settled_bytes == 500
    assert Tally(read_bytes=1000).settled_bytes == 0
