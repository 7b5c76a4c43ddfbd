"""Archives of Amplitude's Export API: read line by line, and refused in a sentence."""

import gzip
from io import BytesIO
from zipfile import ZipFile

import pytest

from worker.amplitude_reads import AmplitudeReadError, Wanted, read_archive

HOUR = 1_767_322_800
WANTED = Wanted({(HOUR, "Plan Changed")})
GOOD = b'{"event_type":"Plan Changed","event_time":"2026-01-02 03:04:05.000000","uuid":"u"}\n'


def archive(member: bytes) -> BytesIO:
    file = BytesIO()
    with ZipFile(file, "w") as zipped:
        zipped.writestr("100/100_2026-01-02_3#0.json.gz", member)
    return file


def damaged(packed: bytes) -> bytes:
    return packed[:12] + bytes(255 - byte for byte in packed[12:20]) + packed[20:]


@pytest.mark.parametrize(
    "file",
    [
        BytesIO(b"no archive"),
        archive(b"no gzip"),
        archive(damaged(gzip.compress(GOOD * 10))),
        archive(gzip.compress(GOOD)[:-9]),
        archive(gzip.compress(b"[1]\n")),
        archive(gzip.compress(b'{"x":' + b"[" * 100_000 + b"\n")),
        archive(gzip.compress(b'{"event_type":"\xff"}\n')),
    ],
    ids=["zip", "gzip", "damaged", "cut", "shape", "deep", "utf-8"],
)
def test_archive_is_refused_in_a_sentence_when_it_is_broken(file: BytesIO) -> None:
    with pytest.raises(AmplitudeReadError, match=r"^Amplitude's export cannot be read: "):
        list(read_archive(file, WANTED))


def test_archive_gives_the_events_of_its_lines() -> None:
    (events,) = read_archive(archive(gzip.compress(GOOD * 3)), WANTED)
    assert [event.event_type for event in events] == ["Plan Changed"] * 3
