"""What an upload looks like on the wire, decoded once into types.

A body that fits the types is decoded in one pass, which is the path of nearly every request. One
that does not is read again, loosely, so that ``rules`` can name each bad event by its index.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import orjson

MAX_CHARS: Final = 1024
MIN_ID_LENGTH: Final = 5

Text = Annotated[str, msgspec.Meta(max_length=MAX_CHARS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CHARS)]
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]

ABSENT: Final = msgspec.Raw()
"""The very object that stands where a member was not given."""


class Event(msgspec.Struct, gc=False):
    """One event; the properties stay the client's own JSON text."""

    event_type: Name
    user_id: Text | None = None
    device_id: Text | None = None
    time: Integer | None = None
    insert_id: Text | None = None
    session_id: Integer | None = None
    event_id: Integer | None = None
    event_properties: msgspec.Raw = ABSENT
    user_properties: msgspec.Raw = ABSENT
    groups: msgspec.Raw = ABSENT
    group_properties: msgspec.Raw = ABSENT
    price: float | None = None
    quantity: Integer | None = None
    revenue: float | None = None
    productId: Text | None = None  # noqa: N815 - Amplitude's spelling
    revenueType: Text | None = None  # noqa: N815 - Amplitude's spelling
    currency: Currency | None = None
    skip_user_properties_sync: bool | None = msgspec.field(
        default=None, name="$skip_user_properties_sync"
    )
    user_agent: Text | None = None
    app_version: Text | None = None
    platform: Text | None = None
    os_name: Text | None = None
    os_version: Text | None = None
    device_brand: Text | None = None
    device_manufacturer: Text | None = None
    device_model: Text | None = None
    carrier: Text | None = None
    country: Text | None = None
    region: Text | None = None
    city: Text | None = None
    dma: Text | None = None
    language: Text | None = None
    location_lat: float | None = None
    location_lng: float | None = None
    ip: Text | None = None
    idfa: Text | None = None
    idfv: Text | None = None
    adid: Text | None = None
    android_id: Text | None = None
    android_app_set_id: Text | None = None
    library: Text | None = None
    partner_id: Text | None = None
    plan: dict[str, Any] | None = None
    ingestion_metadata: dict[str, Any] | None = None


class Options(msgspec.Struct):
    """What holds for a whole request."""

    min_id_length: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Upload(msgspec.Struct):
    """A request whose every value is of the right type."""

    api_key: str
    events: Annotated[list[Event], msgspec.Meta(min_length=1)]
    options: Options | None = None

    @property
    def min_id_length(self) -> int:
        """How short an id may be."""
        given = self.options.min_id_length if self.options else None
        return given if given is not None else MIN_ID_LENGTH


@dataclass(frozen=True, slots=True)
class Loose:
    """A request that is JSON and an object, of which at least one value is not as it must be."""

    members: dict[str, Any]

    @property
    def api_key(self) -> object:
        """Whatever was given as the key."""
        return self.members.get("api_key")


class NotAnObjectError(Exception):
    """The body is not the text of a JSON object."""


UPLOAD: Final = msgspec.json.Decoder(Upload)


def decode(body: bytes) -> Upload | Loose:
    """Return the request in the body.

    Raises:
        NotAnObjectError: It is not JSON, not UTF-8, or not an object.
    """
    try:
        if not body.isascii():
            body.decode()  # raw values are not looked at by the decoder
        return UPLOAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_loosely(body)


def decode_loosely(body: bytes) -> Loose:
    """Return the request with no type checked; raises as ``decode``."""
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotAnObjectError from error
    if not isinstance(members, dict):
        raise NotAnObjectError
    return Loose(members)
