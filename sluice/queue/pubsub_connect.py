"""The connection to Pub/Sub: where it is, with whose credentials, and how it is kept alive."""

import asyncio
import os
from dataclasses import dataclass
from typing import Final

import grpc
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

ENDPOINT: Final = "pubsub.googleapis.com:443"
OPTIONS: Final = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # gRPC waits for up to two minutes between tries by default: an outage would last as long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Otherwise channels of a process share connections, also one that is dead.
    ("grpc.use_local_subchannel_pool", 1),
]
KEEPALIVE: Final = [
    # A connection that a firewall forgot looks open for ever unless somebody asks. The emulator
    # takes the asking for an attack ("too_many_pings").
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


@dataclass(frozen=True, slots=True)
class Clients:
    """Both clients over one connection."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    channel: grpc.aio.Channel


async def connect(endpoint: str = ENDPOINT) -> Clients:
    """Connect to ``PUBSUB_EMULATOR_HOST`` if it is set, else to Google with its own credentials.

    Args:
        endpoint: ``host:port`` of Google's service, for those who use a regional one.

    Raises:
        google.auth.exceptions.GoogleAuthError: There are no credentials.
    """
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=OPTIONS)
    else:  # looks for credentials in files and at the machine's metadata server
        channel = await asyncio.to_thread(
            PublisherGrpcAsyncIOTransport.create_channel,
            host=endpoint,
            options=[*OPTIONS, *KEEPALIVE],
        )
    return Clients(
        PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel)),
        SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel)),
        channel,
    )
