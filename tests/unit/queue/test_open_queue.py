"""Settings choose the backend."""

from sluice.queue import open_queue
from sluice.queue.local import LocalQueue
from sluice.settings import load_settings


def test_local_queue_is_chosen_when_the_url_says_local() -> None:
    assert isinstance(open_queue(load_settings(queue_url="local:somewhere.sqlite")), LocalQueue)


def test_local_queue_is_chosen_when_no_url_is_set() -> None:
    assert isinstance(open_queue(load_settings()), LocalQueue)
