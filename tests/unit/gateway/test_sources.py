"""What holds for every source: parsers never raise, and every element is taken or refused."""

import re
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sources
from gateway.core.mapped import with_members
from gateway.core.source import Caller, Parsed, Refused, Source, SourceRoute, Taken
from gateway.source_answers import ANY_ROUTE, SKIPPING
from gateway.sources.segops import parse_track
from sluice.core.envelope import encode
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import stamp_batch
from tests.unit.gateway.arrivals import DIRECTORY, SECRET_KEY, TENANT, arrival, basic

ROUTES = [(source, route) for source in map(sources.load, sources.NAMES) for route in source.routes]
READ_DIFFERENTLY = {
    "segment_track",
    "segment_batch",
    "amplitude_httpapi",
    "amplitude_identify",
    "webhook",
}
"""One route of each way to read a body."""
HEADERS = {
    "Content-Type": "application/json",
    "webhook-id": "m",
    "webhook-timestamp": "1777127520",
    "webhook-signature": "v1,AAAA",
}
NAMES = re.findall(
    r"\S+",
    """
    type event name category userId anonymousId previousId groupId messageId timestamp properties
    traits context writeKey batch events api_key identification user_id device_id event_type time
    insert_id event_properties user_properties $set $unset $add groups session_id data email
    """,
)
WORDS = ("track", "identify", "page", "group", "alias", "$identify", "$groupidentify", "u-1", "")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
    st.sampled_from(WORDS),
    st.just("2026-04-25T14:32:00Z"),
    st.just(1_777_127_520_123),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=8,
)
elements = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), values, max_size=8),
    values,
)
JUNK = st.sampled_from([b"NaN", b"-Infinity", rb'"\ud800"', b"\xff", b"}", b"1e400", b"[" * 600])


def texts_of(value: object) -> bytes:
    return msgspec.json.encode(value)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of any dialect: lists under their names, lone events, junk put in anywhere."""
    listed = draw(st.lists(elements, max_size=3))
    body: Any = draw(
        st.sampled_from(
            [
                {"batch": listed, "writeKey": SECRET_KEY},
                {"events": listed, "api_key": SECRET_KEY},
                {"identification": listed, "api_key": SECRET_KEY},
                listed[0] if listed else {},
                listed,
            ]
        )
    )
    text = texts_of(body)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(JUNK) + text[at + draw(st.integers(0, 3)) :]
    return text


def check(source: Source, route: SourceRoute, body: bytes) -> None:
    given_one = arrival(route.path, body, HEADERS, tail="acme")
    who = source.authenticate(given_one, DIRECTORY)
    assert who is not None, "with the body there, there is an answer"
    found = source.parse(given_one, TENANT)
    if isinstance(found, Rejected):
        assert source.refused(Refused(rejected=found)).status >= 400
        assert found.error_type in source.errors
        return
    assert isinstance(found, Parsed)
    indexes = [one.index or 0 for one in found.rejected]
    assert indexes == sorted(set(indexes))
    assert all(index < found.total for index in indexes)
    assert len(found.candidates) >= found.total - len(found.rejected)
    assert bool(found.candidates) == (found.total > len(found.rejected))
    assert {one.error_type for one in found.rejected} <= {*SKIPPING, *source.errors, *BODY}
    events = stamp_batch(
        found.candidates,
        tenant="acme",
        source=source.name,
        received_at="2026-04-25T14:32:00.000000",
        new_ids=["01a1ff3e-1f8e-7935-962e-753e3da0809c"] * len(found.candidates),
    )
    for rows in encode("events", events):
        for line in rows.data.splitlines():
            assert isinstance(msgspec.json.decode(line), dict)
    done = Taken(rejected=found.rejected, total=found.total, body_bytes=len(body), received_ms=1)
    answer = source.taken(given_one, done)
    assert answer.status in {200, 400}
    assert (answer.status == 200) or not found.candidates


BODY = {ErrorType.BODY_EMPTY, ErrorType.JSON_INVALID, ErrorType.JSON_TOO_DEEP}
"""What a signed delivery may be refused for and is answered 200 all the same."""


@pytest.mark.parametrize(
    ("source", "route"),
    [pytest.param(*one, id=one[1].name) for one in ROUTES if one[1].name in READ_DIFFERENTLY],
)
@given(body=st.one_of(bodies(), st.binary(max_size=60)))
def test_parser_never_raises_and_accounts_for_every_element(
    source: Source, route: SourceRoute, body: bytes
) -> None:
    check(source, route, body)


@given(
    text=st.dictionaries(st.text(max_size=5), values, max_size=5),
    extra=st.dictionaries(st.text(max_size=5), values, max_size=5),
)
def test_added_members_never_replace_those_that_were_sent(
    text: dict[str, object], extra: dict[str, object]
) -> None:
    joined = with_members(texts_of(text), {name: texts_of(value) for name, value in extra.items()})
    assert msgspec.json.decode(joined) == msgspec.json.decode(texts_of(extra | text))
    assert joined.startswith(texts_of(text)[:-1])


@pytest.mark.parametrize("name", sources.NAMES)
def test_no_refusal_repeats_a_credential(name: str) -> None:
    source = sources.load(name)
    for route in source.routes:
        for given_one in (
            arrival(route.path, {"api_key": "sk_mine", "writeKey": "sk_mine"}, HEADERS),
            arrival(route.path, b"{}", basic("sk_mine")),
        ):
            denied = source.authenticate(given_one, DIRECTORY)
            assert denied is not None
            assert not isinstance(denied, Caller)
            answer = source.refused(Refused(rejected=denied.rejected))
            assert b"sk_mine" not in answer.body


@pytest.mark.parametrize("name", sources.NAMES)
def test_every_refusal_is_json_with_a_code_and_a_503_says_when_to_come_back(name: str) -> None:
    source = sources.load(name)
    for error_type in (*source.errors, *ANY_ROUTE):
        answer = source.refused(Refused(rejected=Rejected(error_type, "No."), retry_after_s=2))
        assert "code" in orjson.loads(answer.body)
        assert answer.status not in {410, 460}, "Segment's libraries would try again for ever"
        assert answer.error_type == error_type
        assert ("Retry-After" in dict(answer.headers)) is (answer.status in {429, 503})


def test_bodies_of_this_module_reach_past_the_grammar() -> None:
    """The strategies are worth something: an ordinary body is taken by each dialect."""
    event = {"type": "track", "event": "e", "event_type": "e", "userId": "u", "user_id": "u"}
    body = texts_of({"batch": [event], "events": [event], "identification": [event], **event})
    for source, route in ROUTES:
        found = source.parse(arrival(route.path, body, HEADERS), TENANT)
        assert isinstance(found, Parsed), (route.name, found)
        assert found.candidates, (route.name, found.rejected)


def test_same_id_from_two_sources_or_track_names_different_events() -> None:
    """What one API calls ``m`` is not what another does; only the SegOps ``event_id`` is bare."""
    event = {"user_id": "u", "event_type": "e", "insert_id": "m"}
    message = {"userId": "u", "event": "e", "messageId": "m"}
    delivery = {"type": "e", "data": {"user_id": "u"}}
    given = {
        "amplitude_http": arrival("/batch", {"api_key": SECRET_KEY, "events": [event]}),
        "segment": arrival("/v1/track", message),
        "webhook": arrival("/api/ingestion/webhook/{tenant}", delivery, HEADERS),
    }
    every = {source.name: source for source in map(sources.load, sources.NAMES)}
    assert set(given) == set(every)
    found = [every[name].parse(one, TENANT) for name, one in given.items()]
    named = {one.candidates[0].client_id for one in found if isinstance(one, Parsed)}
    assert named == {"amplitude_http\nuser:u\nm", "segment\nm", "webhook\nm"}
    for name in named:
        body = orjson.dumps({"user_id": "u", "event_type": "e", "event_id": name})
        refused = parse_track(body, strict=False)
        assert isinstance(refused, list), "no event_id of track looks like it"
        assert refused[0].error_type == ErrorType.EVENT_ID_INVALID
