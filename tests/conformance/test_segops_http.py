"""Cases 90 to 92, and what section 2.5 says of HTTP: paths, methods, headers, odd bodies."""

import orjson
import pytest

from tests.support.raw_http import connect, exchange, read_answer, request_bytes
from tests.support.segops import (
    BATCH,
    ERRORS,
    EVENT,
    HEALTH,
    STATS,
    TRACK,
    Segops,
    assert_queued,
    assert_refused,
    check_manners,
)

PLAIN = orjson.dumps(EVENT)


def headers_of(api: Segops, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the headers of a good request, without a length."""
    return [
        ("Authorization", f"ApiKey {api.api_key}"),
        ("Content-Type", "application/json"),
        *more,
    ]


async def test_case_090_get_track_names_the_methods_that_are_allowed(client: Segops) -> None:
    for path in (TRACK, BATCH):
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
            answer = await client.ask(method, path)
            assert answer.status == 405
            assert answer.headers["Allow"] == "POST, OPTIONS"
            assert answer.error_type == "method_not_allowed"


async def test_reading_routes_refuse_post_and_name_their_methods(client: Segops) -> None:
    for path in (HEALTH, STATS, ERRORS):
        answer = await client.ask("POST", path, body=b"{}")
        assert_refused(answer, 405, "method_not_allowed")
        allowed = {word.strip() for word in answer.headers["Allow"].split(",")}
        assert allowed == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/ingestion/nope",
        "/api/ingestion/nope/",
        "//api/ingestion/track/",
        "/api//ingestion/track/",
        "/api/ingestion/track//",
        "/API/ingestion/track/",
        "/api/ingestion/Track",
        "/api/ingestion%2Ftrack/",
        "/api/ingestion/track%2F",
        "/api/ingestion/./track/",
        "/schemas/infer/",
    ],
)
async def test_case_091_unknown_path_is_404_as_json(client: Segops, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await exchange(
            client.url,
            request_bytes(
                path, method=method, headers=[*headers_of(client), ("Content-Length", "0")]
            ),
        )
        assert answer is not None
        check_manners(answer)
        assert_refused(answer, 404, "not_found")
        assert isinstance(answer.json["detail"], str)


async def test_case_092_head_answers_as_get_without_a_body(client: Segops) -> None:
    async with connect(client.url) as (reader, writer):
        get, head = (request_bytes(HEALTH, method=method) for method in ("GET", "HEAD"))
        writer.write(get)
        full = await read_answer(reader)
        writer.write(head + get)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        after = await read_answer(reader)
    assert full is not None
    assert after is not None, "a body after HEAD would have spoilt the next answer"
    assert int(lines[0].split()[1]) == full.status == after.status


async def test_every_path_is_served_with_and_without_its_slash(client: Segops) -> None:
    for path in (HEALTH, STATS, ERRORS):
        for spelled in (path, path.rstrip("/")):
            assert (await client.get(spelled)).status in {200, 503}
    for path, body in ((TRACK, EVENT), (BATCH, {"events": [EVENT]})):
        for spelled in (path, path.rstrip("/")):
            assert (await client.post(spelled, body)).status == 202


async def test_options_lists_the_methods_without_authentication(client: Segops) -> None:
    for path in (TRACK, BATCH, STATS):
        answer = await client.ask("OPTIONS", path)
        assert (answer.status, answer.body) == (204, b"")
        assert "OPTIONS" in answer.headers["Allow"]
        assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_request_id_of_the_client_is_kept_when_it_is_plain(client: Segops) -> None:
    answer = await client.track(EVENT, X_Request_Id="my-own.id_1")
    assert answer.headers["X-Request-Id"] == "my-own.id_1"
    for odd in ("x" * 65, "a b", "a/b", "<script>"):
        answer = await client.track(EVENT, X_Request_Id=odd)
        assert answer.headers["X-Request-Id"] != odd


async def test_answers_are_not_compressed(client: Segops) -> None:
    """Section 2.2, 6: no compressed answer to ``identity``."""
    answer = await client.post(TRACK, EVENT, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers


async def test_http_1_0_chunked_and_expect_continue_are_accepted(api: Segops) -> None:
    length = ("Content-Length", str(len(PLAIN)))
    old = await exchange(
        api.url,
        request_bytes(TRACK, headers=headers_of(api, length), body=PLAIN, version="HTTP/1.0"),
    )
    assert old is not None
    assert_queued(old)
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, PLAIN[n : n + 1]) for n in range(len(PLAIN)))
    chunked = await exchange(
        api.url,
        request_bytes(
            TRACK,
            headers=headers_of(api, ("Transfer-Encoding", "chunked")),
            body=chunks + b"0\r\n\r\n",
        ),
    )
    assert chunked is not None
    assert_queued(chunked)
    async with connect(api.url) as (reader, writer):
        expecting = headers_of(api, length, ("Expect", "100-continue"))
        writer.write(request_bytes(TRACK, headers=expecting))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(PLAIN)
        answer = await read_answer(reader)
    assert answer is not None
    assert_queued(answer)
    await api.rows_when(3)


async def test_body_cut_short_stores_nothing(api: Segops) -> None:
    """Section 2.5: a body cut short is 400 and stores nothing."""
    async with connect(api.url) as (reader, writer):
        length = ("Content-Length", str(len(PLAIN) + 1))
        writer.write(request_bytes(TRACK, headers=headers_of(api, length), body=PLAIN))
        writer.write_eof()
        answer = await read_answer(reader)
    assert answer is None or answer.status == 400
    await api.assert_stored_only([])


async def test_checks_come_in_their_documented_order(client: Segops) -> None:
    """Section 2.5: path, method, authentication, content type, size, JSON, shape."""
    wrong = {"Authorization": "ApiKey sk_wrong", "Content-Type": "text/plain"}
    assert (await client.ask("GET", "/nope", headers=wrong)).status == 404
    assert (await client.ask("GET", TRACK, headers=wrong)).status == 405
    assert (await client.post(TRACK, b"{", headers=dict(wrong))).status == 401
    large = b"{".ljust(5_242_881)
    assert (await client.track(large, Content_Type="text/plain")).status == 415
    assert (await client.track(large)).status == 413
    assert_refused(await client.batch(b'{"events":'), 400, "json_invalid")


async def test_idempotency_key_must_be_visible_ascii(client: Segops) -> None:
    """Section 5.5: 1 to 128 visible ASCII characters, else 400."""
    for key in ("x" * 129, "a b", "é"):
        answer = await client.track(EVENT, Idempotency_Key=key)
        assert_refused(answer, 400, "idempotency_key_invalid")
    assert_queued(await client.track(EVENT, Idempotency_Key="x" * 128))
