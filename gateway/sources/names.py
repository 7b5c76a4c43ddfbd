"""How the sources write what a client called an event: what a receipt can be asked by."""

from collections.abc import Sequence

from gateway.core.mapped import scoped_name
from gateway.sources import amplitude_http, segment, standard_webhooks
from gateway.sources.shopify import name_of_delivery


def spellings(
    name: str, *, user_id: str | None = None, anonymous_id: str | None = None
) -> Sequence[str]:
    """Return what each source makes of a client's name, the name itself first.

    Args:
        name: The event_id, Idempotency-Key, messageId, insert_id or webhook id.
        user_id: The user of the event; Amplitude's names are those of one device or user.
        anonymous_id: Amplitude's device_id.
    """
    found = [
        name,
        name_of_delivery(name),
        scoped_name((segment.SOURCE.name,), name),
        scoped_name((standard_webhooks.SOURCE.name,), name),
    ]
    if user_id or anonymous_id:
        scope = amplitude_http.scope_of(user_id=user_id or "", device_id=anonymous_id or "")
        found.append(scoped_name(scope, name))
    return found
