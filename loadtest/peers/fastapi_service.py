"""The edge of the peer: what a competent engineer writes in a day, with the libraries' habits.

FastAPI on uvicorn validates with pydantic; ``google-cloud-pubsub``'s publisher takes one message an
event and batches them as it does by default. 202 is said when the broker has all of a request, so
the promise is the same as Sluice's on Pub/Sub. With ``--hands-over`` it has the habit of most
examples instead: 202 is said when the client library has the events, which are lost if the service
dies before the library has sent them. ``fastapi_consumer`` is the other half.
"""

import argparse
import asyncio
import hashlib
import hmac
import logging
import os
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from google.cloud import pubsub_v1
from pydantic import BaseModel, Field

TENANT = "peer"
MAX_BATCH = 2_000

app = FastAPI()
app.state.hands_over = False
publisher = pubsub_v1.PublisherClient()
topic = publisher.topic_path(os.environ["PEER_PROJECT"], os.environ["PEER_TOPIC"])
log = logging.getLogger(__name__)
key_digest = hashlib.sha256(os.environ["PEER_API_KEY"].encode()).digest()


class Event(BaseModel):
    """One event, as a client sends it."""

    user_id: str | None = Field(default=None, min_length=1, max_length=255)
    anonymous_id: str | None = Field(default=None, min_length=1, max_length=255)
    event_type: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=255)
    occurred_at: datetime | None = None
    payload: dict[str, Any] = Field(default_factory=dict)


class StoredEvent(Event):
    """One event, as it goes through the broker."""

    tenant: str
    event_id: uuid.UUID
    received_at: datetime


class Batch(BaseModel):
    """Several events."""

    events: list[Event] = Field(min_length=1, max_length=MAX_BATCH)


def tenant_of(authorization: Annotated[str, Header()]) -> str:
    """Return whose key it is."""
    digest = hashlib.sha256(authorization.removeprefix("ApiKey ").encode()).digest()
    if not hmac.compare_digest(digest, key_digest):
        raise HTTPException(401, "unknown API key")
    return TENANT


Tenant = Annotated[str, Depends(tenant_of)]


def note_failure(future: "Future[str]") -> None:
    """Log what the broker did not take, where nobody waits for it."""
    if future.exception() is not None:
        log.error("an event was not published", exc_info=future.exception())


async def publish(events: list[Event], tenant: str) -> list[str]:
    """Publish each event as a message; return when the broker has them all.

    With ``--hands-over`` that is when the client library has them.
    """
    now = datetime.now(UTC)
    stored = [
        StoredEvent(**event.model_dump(), tenant=tenant, event_id=uuid.uuid4(), received_at=now)
        for event in events
    ]
    futures = [publisher.publish(topic, each.model_dump_json().encode()) for each in stored]
    if app.state.hands_over:
        for future in futures:
            future.add_done_callback(note_failure)
        return [str(each.event_id) for each in stored]
    async with asyncio.timeout(30):
        for future in futures:
            await asyncio.wrap_future(future)
    return [str(each.event_id) for each in stored]


@app.post("/api/ingestion/track", status_code=202)
async def track(event: Event, tenant: Tenant) -> dict[str, Any]:
    """Take one event."""
    (event_id,) = await publish([event], tenant)
    return {"event_id": event_id, "queued": True}


@app.post("/api/ingestion/track/batch", status_code=202)
async def batch(body: Batch, tenant: Tenant) -> dict[str, Any]:
    """Take several events."""
    return {"event_ids": await publish(body.events, tenant), "queued": True}


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hands-over", action="store_true", help="do not wait for the broker")
    options = parser.parse_args()
    app.state.hands_over = options.hands_over
    uvicorn.run(app, host="127.0.0.1", port=options.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
