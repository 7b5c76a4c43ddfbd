"""The queue protocol and its backends."""

from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import Queue
from sluice.settings import Settings


def open_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name; entering it as a context manager opens it."""
    if settings.pubsub_project is None:
        return LocalQueue(settings.queue_path, LocalOptions(max_bytes=settings.queue_max_bytes))
    from sluice.queue.pubsub import PubSubQueue
    from sluice.queue.pubsub_wire import Names

    return PubSubQueue(Names(settings.pubsub_project))
