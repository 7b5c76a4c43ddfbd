"""A client of one tenant, which sees what anyone outside sees: answers, and its own rows.

It checks the manners that every answer of the API owes (reference/segops.md, 2.5) on each of them,
so that no test has to.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
import orjson
from yarl import URL

from tests.support.poll import poll_until

EVENT: Final[Mapping[str, object]] = {"user_id": "u-1", "event_type": "page_viewed"}
"""Event E of the conformance table."""
TRACK: Final = "/api/ingestion/track/"
BATCH: Final = "/api/ingestion/track/batch/"
STATS: Final = "/api/ingestion/stats/"
ERRORS: Final = "/api/ingestion/errors/"
HEALTH: Final = "/api/ingestion/health/"
VISIBLE_WITHIN_S: Final = 60.0
"""How long a test waits for the warehouse on a busy machine; far above the promise of freshness."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EVENTS_SQL: Final = """
    SELECT toString(event_id) AS event_id, user_id, anonymous_id, event_type, source,
           toString(occurred_at) AS occurred_at, toString(received_at) AS received_at,
           hex(payload) AS payload
    FROM events FINAL WHERE tenant = {tenant:String} ORDER BY events.received_at, events.event_id
"""
_USERS_SQL: Final = """
    SELECT user_id, traits, toString(first_identified_at) AS first_identified_at,
           toString(last_identified_at) AS last_identified_at
    FROM users WHERE tenant = {tenant:String} ORDER BY user_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return orjson.loads(self.body)

    @property
    def error_type(self) -> str | None:
        """What the answer calls its refusal."""
        return self.headers.get("X-Error-Type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of ``events``."""

    event_id: str
    user_id: str
    anonymous_id: str
    event_type: str
    source: str
    occurred_at: str
    received_at: str
    payload: str


class Warehouse:
    """Reads ClickHouse over plain HTTP, as a dashboard does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        parts = URL(url)
        self._session = session
        self._auth = {
            "Authorization": aiohttp.encode_basic_auth(parts.user or "", parts.password or "")
        }
        self._url = parts.with_user(None).with_path("/")
        self._settings = {
            "database": parts.path.strip("/"),
            "default_format": "JSONEachRow",
            "output_format_json_quote_64bit_integers": "0",
        }

    async def select(self, sql: str, **params: str) -> list[dict[str, Any]]:
        """Return the rows of one query; ``params`` are its typed parameters."""
        query = self._settings | {f"param_{name}": value for name, value in params.items()}
        async with self._session.post(
            self._url.with_query(query), data=sql.encode(), headers=self._auth
        ) as answer:
            body = await answer.read()
            assert answer.status == 200, body[:500]
            return [orjson.loads(line) for line in body.splitlines()]


class Segops:
    """One tenant's client; an async context manager."""

    def __init__(
        self, url: str, warehouse_url: str, *, slug: str, api_key: str, read_token: str
    ) -> None:
        self.url = url
        self.slug = slug
        self.api_key = api_key
        self.read_token = read_token
        self._warehouse_url = warehouse_url

    async def __aenter__(self) -> Self:
        """Open the connections, and wait until the gateway knows the tenant."""
        async with AsyncExitStack() as opened:
            self._session = await opened.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=64),
                    timeout=aiohttp.ClientTimeout(total=30),
                    skip_auto_headers=("Content-Type", "User-Agent"),
                )
            )
            self.warehouse = Warehouse(self._session, self._warehouse_url)
            await poll_until(self._is_known, every_s=0.01, what=f"the gateway knows {self.slug}")
            self._open = opened.pop_all()
        return self

    async def _is_known(self) -> bool:
        # Refused for its limit, once the tenant is known: touches nothing, leaves no record.
        return (await self.get(f"{ERRORS}?limit=0")).status == 400

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections."""
        await self._open.aclose()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Answer:
        """Send one request as it is given, follow nothing, and check the answer's manners."""
        async with self._session.request(
            method,
            URL(self.url + target, encoded=True),
            headers=list(headers.items() if isinstance(headers, Mapping) else headers),
            data=None if body is None else io.BytesIO(body),
            allow_redirects=False,
        ) as answer:
            result = Answer(status=answer.status, headers=answer.headers, body=await answer.read())
        check_manners(result)
        return result

    def at(self, url: str) -> "Segops":
        """Return a client of the same tenant at another gateway, to be entered."""
        return Segops(
            url,
            self._warehouse_url,
            slug=self.slug,
            api_key=self.api_key,
            read_token=self.read_token,
        )

    async def metrics(self) -> str:
        """Return what the gateway says of itself, in the Prometheus text format."""
        async with self._session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def post(
        self, target: str, body: object, *, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Post with this tenant's key as JSON; a header given as None is left out.

        ``body`` is sent as it is when it is bytes, else encoded.
        """
        given: dict[str, str | None] = {
            "Authorization": f"ApiKey {self.api_key}",
            "Content-Type": "application/json",
        }
        given.update(headers or {})
        return await self.ask(
            "POST",
            target,
            headers={name: value for name, value in given.items() if value is not None},
            body=body if isinstance(body, bytes) else orjson.dumps(body),
        )

    async def track(self, body: object, **headers: str | None) -> Answer:
        """Post one event; ``Content_Type="x"`` sets a header."""
        return await self.post(TRACK, body, headers=_spelled(headers))

    async def batch(self, events: object, **headers: str | None) -> Answer:
        """Post ``{"events": events}``, or bytes as they are."""
        body = events if isinstance(events, bytes) else {"events": events}
        return await self.post(BATCH, body, headers=_spelled(headers))

    async def get(self, target: str, *, token: str | None = None) -> Answer:
        """Get with this tenant's read token, or another."""
        bearer = token or self.read_token
        return await self.ask("GET", target, headers={"Authorization": f"Bearer {bearer}"})

    async def stats(self, query: str = "") -> Any:
        """Return the stats that this tenant sees."""
        answer = await self.get(STATS + query)
        assert answer.status == 200, answer
        return answer.json

    async def errors(self, query: str = "") -> Any:
        """Return the error records that this tenant sees."""
        answer = await self.get(ERRORS + query)
        assert answer.status == 200, answer
        return answer.json

    async def rows(self) -> list[Row]:
        """Return this tenant's events as they are stored, oldest first."""
        found = await self.warehouse.select(_EVENTS_SQL, tenant=self.slug)
        return [Row(**(row | {"payload": bytes.fromhex(row["payload"]).decode()})) for row in found]

    async def rows_when(self, count: int) -> list[Row]:
        """Wait until this tenant has ``count`` events and return them; more is an error."""

        async def enough() -> list[Row]:
            rows = await self.rows()
            return rows if len(rows) >= count else []

        rows = await poll_until(
            enough, within_s=VISIBLE_WITHIN_S, every_s=0.05, what=f"{count} rows in events"
        )
        assert len(rows) == count
        return rows

    async def users(self) -> dict[str, Any]:
        """Return this tenant's people as ``users`` shows them: traits by user_id."""
        found = await self.warehouse.select(_USERS_SQL, tenant=self.slug)
        return {row["user_id"]: orjson.loads(row["traits"]) for row in found}

    async def assert_stored_only(self, users: Sequence[str]) -> list[Row]:
        """Send one more event, wait for it, and check that nothing else is stored but ``users``.

        The queue hands over the oldest first: what is not there by now was never stored.
        """
        last = await self.track({"user_id": "the-last", "event_type": "page_viewed"})
        assert last.status == 202, last
        rows = await self.rows_when(len(users) + 1)
        assert sorted(row.user_id for row in rows) == sorted([*users, "the-last"])
        return rows


def check_manners(answer: Answer) -> None:
    """Check what every answer of the API owes (reference/segops.md, 2.5 and 3)."""
    assert answer.status < 500 or answer.status == 503, answer
    assert answer.headers["Cache-Control"] == "no-store", answer
    assert answer.headers["X-Content-Type-Options"] == "nosniff", answer
    assert _REQUEST_ID.fullmatch(answer.headers["X-Request-Id"]), answer
    if answer.body:
        assert answer.headers["Content-Type"].startswith("application/json"), answer
        assert isinstance(answer.json, dict), answer
    if answer.status == 503 and answer.error_type is not None:
        assert 1 <= int(answer.headers["Retry-After"]) <= 30, answer


def assert_refused(
    answer: Answer, status: int, error_type: str | None = None, *, field: str | None = None
) -> None:
    """Check that a request was refused as a whole, DRF style: a field's list, or ``detail``."""
    assert answer.status == status, answer
    assert answer.error_type is not None, answer
    if error_type is not None:
        assert answer.error_type == error_type, answer
    if field is None:
        assert isinstance(answer.json.get("detail"), str) or _is_fields(answer.json), answer
    else:
        assert _is_fields(answer.json), answer
        assert field in answer.json, answer


def assert_queued(answer: Answer) -> str:
    """Check that one event was accepted, exactly as the given page says; return its id."""
    assert answer.status == 202, answer
    assert answer.body == b'{"queued":true}' or answer.json == {"queued": True}, answer
    return answer.headers["X-Event-Id"]


def assert_counted(answer: Answer, *, queued: int, skipped: int) -> list[Any]:
    """Check a batch's counts; return its list of errors."""
    assert answer.status == 202, answer
    assert answer.json["queued"] == queued, answer
    assert answer.json["skipped"] == skipped, answer
    if skipped == 0:
        assert answer.json == {"queued": queued, "skipped": 0}, answer
        return []
    assert set(answer.json) == {"queued", "skipped", "errors"}, answer
    errors: list[Any] = answer.json["errors"]
    assert len(errors) == min(skipped, 100), answer
    assert [error["index"] for error in errors] == sorted(error["index"] for error in errors)
    assert all(set(error) == {"index", "error_type", "detail"} for error in errors), answer
    return errors


def _is_fields(body: Mapping[str, Any]) -> bool:
    return bool(body) and all(
        isinstance(words, list) and words and all(isinstance(word, str) for word in words)
        for words in body.values()
    )


def _spelled(headers: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
