"""The queue protocol and its backends."""

from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import Queue
from sluice.queue.spooled import SPOOL_TOPICS, SpooledQueue
from sluice.settings import Settings


def open_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name; entering it as a context manager opens it."""
    if settings.pubsub_project is None:
        return LocalQueue(settings.queue_path, LocalOptions(max_bytes=settings.queue_max_bytes))
    from sluice.queue.pubsub import PubSubQueue
    from sluice.queue.pubsub_wire import Names

    return PubSubQueue(Names(settings.pubsub_project))


def open_edge_queue(settings: Settings) -> Queue:
    """Return the queue as a gateway uses it: with a spool in the data dir, if it is far away."""
    queue = open_queue(settings)
    if settings.pubsub_project is None:
        return queue
    options = LocalOptions(max_bytes=settings.queue_max_bytes)
    return SpooledQueue(queue, LocalQueue(settings.spool_path, options, topics=SPOOL_TOPICS))
