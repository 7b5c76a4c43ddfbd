"""The runs API as the command sees it: where it is, with which token, and what it answers."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import msgspec

from sluice.cli.plain import plain
from sluice.core.errors import ConfigError, SluiceError
from sluice.no_answer import reason_of

RUNS: Final = "/api/workflow/runs"
TIMEOUT_S: Final = 20.0
IDLE_TIMEOUT_S: Final = 60.0
"""Of a download: this long without a byte."""
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
TRIES: Final = 6
MAX_WAIT_S: Final = 10.0
PAGE: Final = 500
_AGAIN: Final = frozenset({429, 502, 503, 504})
_WRONG: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 416})

Run = Mapping[str, Any]
"""A run as the API gives it."""


class NoAnswerError(SluiceError):
    """The gateway cannot be reached; nothing is known of the request."""


class RefusedError(SluiceError):
    """The gateway does not do it now; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any


class RunsApi:
    """A gateway's runs of one tenant.

    Args:
        url: Of the gateway.
        token: Gives the token; asked before every request, since one may end while a run goes on.
        tenant: Sent with each request, so that another tenant's token is noticed; may be empty.
    """

    def __init__(self, url: str, token: Callable[[], str], tenant: str = "") -> None:
        self.url = url
        self._token = token
        self._tenant = tenant
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def start(self, body: Mapping[str, object], *, key: str) -> Run:
        """Start a run; the key makes a repetition after a lost connection the same start."""
        content = msgspec.json.encode(body)
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            return _run(await self._ask("POST", "", data=content, headers=headers))
        except NoAnswerError as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                raise  # nobody heard it
            message = f"{error}. It may have started all the same: `sluice workflow runs` says so."
            raise NoAnswerError(message) from error

    async def show(self, run_id: str) -> Run:
        """Return everything of a run."""
        return _run(await self._ask("GET", f"/{_part(run_id)}", params=[("view", "verbose")]))

    async def stop(self, run_id: str) -> Run:
        """Stop a run; who asks twice gets the same answer."""
        return _run(await self._ask("POST", f"/{_part(run_id)}/stop"))

    async def runs(
        self, filters: Sequence[tuple[str, str]], limit: int, *, with_total: bool = False
    ) -> tuple[list[Run], int | None]:
        """Return up to so many runs, newest first, and how many there are if that was asked."""
        found: list[Run] = []
        total: int | None = None
        token = ""
        while len(found) < limit:
            asked = [*filters, ("limit", str(min(limit - len(found), PAGE)))]
            asked += [("with_total", "true")] if with_total and not found else []
            asked += [("next_token", token)] if token else []
            page = await self._ask("GET", "", params=asked)
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise _no_sluice(self.url)
            found += page["data"]
            total = page.get("total", total)
            token = page.get("next_token") or ""
            if not token:
                break
        return found[:limit], total

    async def download(
        self, run_id: str, name: str, target: Path, *, expected: str
    ) -> tuple[int, str]:
        """Write a file of a run to a path; return its size and SHA-256.

        The path gets the file only when it is whole and, unless nothing is expected, has the
        SHA-256 that the run says.
        """
        part = target.with_name(f"{target.name}.part")
        digest = sha256()
        size = 0
        try:
            async with self._asked(
                "GET", f"/{_part(run_id)}/files/{_part(name)}", is_file=True
            ) as answer:
                if answer.status != 200:
                    raise self._refusal(await _read(answer))
                with await asyncio.to_thread(part.open, "wb") as file:
                    async for piece in answer.content.iter_chunked(1 << 18):
                        digest.update(piece)
                        size += len(piece)
                        await asyncio.to_thread(file.write, piece)
            if expected and digest.hexdigest() != expected:
                message = f"what came has the SHA-256 {digest.hexdigest()}, not {expected}"
                raise RefusedError(f"{message}: fetch it again.")
            await asyncio.to_thread(part.replace, target)
        except OSError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            raise ConfigError(f"--to {target} cannot be written: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        return size, digest.hexdigest()

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the body of a good answer; asks again where waiting may help.

        Raises:
            ConfigError: The request was wrong: token, id, parameter, input.
            RefusedError: It cannot be done now.
            NoAnswerError: Nobody answers.
        """
        for number in range(1, TRIES + 1):
            wait_s = min(0.25 * 2**number, MAX_WAIT_S)
            try:
                async with self._asked(method, path, **options) as answer:
                    found = await _read(answer)
            except NoAnswerError:
                if number == TRIES:
                    raise
            else:
                if 200 <= found.status < 300:
                    return found.body
                if found.status not in _AGAIN or number == TRIES:
                    raise self._refusal(found)
                wait_s = min(_retry_after_s(found.headers, wait_s), MAX_WAIT_S)
            await asyncio.sleep(wait_s)
        raise AssertionError  # the last try returned or raised

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, *, is_file: bool = False, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "enter the block first"  # noqa: S101 - a wrong caller
        headers = {
            **options.pop("headers", {}),
            "Authorization": f"Bearer {self._token()}",
            **({"amperity-tenant": self._tenant} if self._tenant else {}),
        }
        timeout = aiohttp.ClientTimeout(
            total=None if is_file else TIMEOUT_S,
            sock_connect=TIMEOUT_S,
            sock_read=IDLE_TIMEOUT_S if is_file else TIMEOUT_S,
        )
        try:
            async with self._session.request(
                method,
                f"{self.url}{RUNS}{path}",
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # a token goes nowhere else
                **options,
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            message = f"no answer from {self.url} ({reason_of(error)})"
            raise NoAnswerError(f"{message}: see that the gateway runs") from error

    def _refusal(self, answer: Answer) -> SluiceError:
        said = answer.body.get("message") if isinstance(answer.body, dict) else None
        if not isinstance(said, str) or not said:
            return _no_sluice(self.url, answer.status)
        words = f"{plain(said).removesuffix('.')} ({answer.status})"
        by_type = _BY_TYPE.get(answer.headers.get("X-Error-Type", ""))
        remedy = by_type or _REMEDIES.get(answer.status, "")
        text = f"{words}: {remedy}." if remedy else f"{words}."
        return ConfigError(text) if answer.status in _WRONG else RefusedError(text)


_BY_TYPE: Final = {
    "workflow_unknown": "`sluice workflow configs SLUG` lists what there is",
    "workflow_disabled": "`sluice workflow configure SLUG CONFIG_ID enabled=true` switches it on",
    "workflow_broken": "`sluice workflow configs SLUG` says why",
    "run_unknown": "`sluice workflow runs --tenant SLUG` lists them",
    "runs_at_limit": "wait until they end, or `sluice workflow stop` one",
}
_REMEDIES: Final = {
    401: "give --token what `sluice token SLUG` prints there",
    403: "use a token of this tenant, as `sluice token SLUG` prints it there",
    429: "wait a moment; the API takes 10 requests a second of a tenant",
    500: "see the gateway's log",
    503: "nothing was done; try again, or see `sluice doctor`",
}


def _no_sluice(url: str, status: int | None = None) -> SluiceError:
    what = f"{url} answered {status}" if status else url
    return RefusedError(f"{what}, and not as Sluice's runs API does: check --url.")


def _run(body: Any) -> Run:
    if not isinstance(body, dict) or not isinstance(body.get("id"), str):
        raise RefusedError("what answers there is not Sluice's runs API: check --url.")
    return body


async def _read(answer: aiohttp.ClientResponse) -> Answer:
    body = b""
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            break
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    return Answer(status=answer.status, headers=answer.headers, body=decoded)


def _retry_after_s(headers: Mapping[str, str], default: float) -> float:
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return default
    return seconds if math.isfinite(seconds) and seconds >= 0 else default


def _part(text: str) -> str:
    """Return a text as one segment of a path, whatever is in it."""
    return quote(text, safe="") if text.strip(".") else "%20"
