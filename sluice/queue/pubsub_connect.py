"""The connection to Pub/Sub: where it is, with whose credentials, and how it is kept alive."""

import asyncio
import logging
import os
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import google.auth
import grpc
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport import Request

from sluice.queue.pubsub_calls import Calls

if TYPE_CHECKING:
    from google.pubsub_v1.services.publisher import PublisherAsyncClient
    from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

CALL_TIMEOUT_S: Final = 4.0
"""For one small call."""
ENDPOINT: Final = "pubsub.googleapis.com:443"
OPTIONS: Final = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # gRPC waits for up to two minutes between tries by default: an outage would last as long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
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
SCOPES: Final = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/pubsub",
)
"""What credentials are asked for: as Google's own client asks."""
FIND_TIMEOUT_S: Final = 5.0
"""For each request while credentials are looked for; the library's own is two minutes."""

# What these say of credentials, one of them with a stack trace, the failed call says in a sentence.
logging.getLogger("grpc._plugin_wrapping").setLevel(logging.CRITICAL + 1)
logging.getLogger("google.auth").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "Your application has authenticated using end user credentials")


class Clients:
    """All that is called over one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        # Before Google's clients, which put interceptors into the channel.
        self.calls = Calls(channel)

    @cached_property
    def publisher(self) -> "PublisherAsyncClient":
        """Google's client for topics, for commands: it takes 40 MB and a third of a second."""
        from google.pubsub_v1.services.publisher import PublisherAsyncClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

        transport = PublisherGrpcAsyncIOTransport(channel=self.channel)
        return PublisherAsyncClient(transport=transport)

    @cached_property
    def subscriber(self) -> "SubscriberAsyncClient":
        """Google's client for subscriptions, for commands."""
        from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

        transport = SubscriberGrpcAsyncIOTransport(channel=self.channel)
        return SubscriberAsyncClient(transport=transport)


def emulator_host() -> str:
    """Return where the emulator is that is used instead of Google; empty if none is."""
    return os.environ.get("PUBSUB_EMULATOR_HOST", "")


async def connect(endpoint: str = ENDPOINT) -> Clients:
    """Connect to ``PUBSUB_EMULATOR_HOST`` if it is set, else to Google with its own credentials.

    Args:
        endpoint: ``host:port`` of Google's service, for those who use a regional one.

    Raises:
        google.auth.exceptions.GoogleAuthError: There are no credentials.
    """
    emulator = emulator_host()
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=OPTIONS)
    else:
        # Looks in files and at the machine's metadata server, and imports: in a thread. The channel
        # is made here, because it belongs to the loop of the thread that makes it.
        make_channel = await asyncio.to_thread(_find_channel, endpoint)
        channel = make_channel()
    return Clients(channel)


def _find_channel(endpoint: str) -> Callable[[], grpc.aio.Channel]:
    """Return what makes a channel to Google's service with this machine's credentials."""
    # Imported where Google's own service is used: 20 MB that nobody needs beside an emulator.
    from google.api_core import grpc_helpers_async

    return partial(
        grpc_helpers_async.create_channel,
        endpoint,
        credentials=_find_credentials(),
        default_scopes=SCOPES,
        default_host=ENDPOINT.partition(":")[0],
        options=[*OPTIONS, *KEEPALIVE],
    )


class _BriefRequest(Request):
    """Gives up sooner than the library's own."""

    def __init__(self) -> None:
        from google.auth.transport import requests

        self._request = requests.Request()

    def __call__(self, *words: Any, **more: Any) -> Any:
        more.setdefault("timeout", FIND_TIMEOUT_S)
        return self._request(*words, **more)


def _find_credentials() -> Credentials:
    try:
        credentials, _ = google.auth.default(request=_BriefRequest(), default_scopes=SCOPES)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        # What the library lets through of a file that is none: a folder, a list, half an account.
        message = f"the credentials file cannot be used ({type(error).__name__})"
        raise DefaultCredentialsError(message) from error  # type: ignore[no-untyped-call]
    return credentials
