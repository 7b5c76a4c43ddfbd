"""The queue protocol and its backends."""

import os

from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import Queue
from sluice.queue.spooled import SPOOL_TOPICS, SpooledQueue
from sluice.settings import Settings

# gRPC's core writes lines of its own to stderr, beside the log; each failed call says the same. It
# reads this when it is first imported, which only modules of this package do.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def open_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name; entering it as a context manager opens it."""
    if settings.pubsub_project is None:
        return LocalQueue(settings.queue_path, LocalOptions(max_bytes=settings.queue_max_bytes))
    from sluice.queue.pubsub import PubSubQueue
    from sluice.queue.pubsub_wire import Names

    return PubSubQueue(Names(settings.pubsub_project), endpoint=settings.pubsub_endpoint)


def messaging_system(settings: Settings) -> str:
    """Return what OpenTelemetry's conventions call the queue (``messaging.system``)."""
    return "sqlite" if settings.pubsub_project is None else "gcp_pubsub"


def open_edge_queue(settings: Settings) -> Queue:
    """Return the queue as a gateway uses it: with a spool in the data dir, if it is far away."""
    queue = open_queue(settings)
    if settings.pubsub_project is None:
        return queue
    return SpooledQueue(queue, open_spool(settings))


def open_spool(settings: Settings) -> LocalQueue:
    """Return the spool in the data dir, whether or not a gateway uses it now."""
    options = LocalOptions(max_bytes=settings.queue_max_bytes)
    return LocalQueue(settings.spool_path, options, topics=SPOOL_TOPICS)
