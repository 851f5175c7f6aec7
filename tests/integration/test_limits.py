"""What is too much: clear answers, the right close codes, and nobody else concerned."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from math import ceil

import msgspec
import pytest

from loadtest.client import Client, Refused
from loadtest.connection import HandshakeRefused
from protocol.errors import ErrorCode
from protocol.from_client import History, JsonObject
from protocol.from_server import Error, Message, TypingSeen
from protocol.limits import DATA_MAX_BYTES, FRAME_MAX_BYTES, TEXT_MAX_CHARS
from tests.support.people import (
    People,
    came,
    cursor_of,
    fresh,
    gauges_at_zero,
    name_of,
    numbers,
    people_on,
    text_of,
    texts_of,
    until_numbers,
)
from tests.support.private_server import PrivateServer, private_server

PER_ADDRESS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server with the usual limits, and fewer connections from one address."""
    with private_server(MAX_CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS)) as server:
        yield server


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PrivateServer]:
    """Run one on which a user who has sent too much waits for longer than any test takes."""
    with private_server(MESSAGE_RATE_PER_S="0.01") as server:
        yield server


@pytest.fixture
async def limited(strict_server: PrivateServer) -> AsyncIterator[People]:
    """People on that one."""
    async with people_on(strict_server) as people:
        yield people
    assert "Traceback" not in strict_server.program.output()


# ---- messages


async def test_messages_are_limited_to_a_burst_of_20(people: People) -> None:
    """Then `rate_limited`, not stored, with a time to wait that is enough: 5 a second."""
    alice, bob, match = await people.pair()
    assert alice.welcome is not None
    assert (alice.welcome.limits.messages_per_s, alice.welcome.limits.message_burst) == (5, 20)
    sends = [alice.send(match, str(number), f"c{number}") for number in range(30)]
    began = time.monotonic()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    came_back = 5 * (time.monotonic() - began)
    refused = [outcome.error for outcome in outcomes if isinstance(outcome, Refused)]
    assert 20 <= len(outcomes) - len(refused) <= 20 + came_back
    assert all(error.code is ErrorCode.RATE_LIMITED and error.stored == "no" for error in refused)
    assert all(error.retry_after_ms is not None and 0 < error.retry_after_ms <= 200 for error in refused)
    assert len(await came(bob, Message)) == len(outcomes) - len(refused)

    await asyncio.sleep((refused[-1].retry_after_ms or 0) / 1000)  # as the protocol tells clients to
    await alice.send(match, "29", "c29")
    assert (await numbers(people.api))["rate_limited"] >= len(refused)


async def test_the_limit_is_a_users(limited: People) -> None:
    """No other device, no new connection and no HTTP helps; another's is untouched, and so is everything but sending."""
    alice, bob, match = await limited.pair()
    laptop = await limited.come(name_of(alice))
    with suppress(Refused):
        await asyncio.gather(*(alice.send(match, "x", fresh("c")) for _ in range(60)))
    await alice.close()
    again = await limited.come(name_of(alice))
    for client in (laptop, again):
        outcomes = await asyncio.gather(
            *(client.send(match, "x", fresh("c")) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, Refused) for outcome in outcomes)
    user = limited.as_user(await limited.api.token(name_of(alice)))
    body = msgspec.json.encode({"client_id": "c1", "body": {"text": "x"}})
    assert (await user.exchange("POST", f"/v1/matches/{match}/messages", body)).status == 429
    await bob.send(match, "mine", "c1")
    assert texts_of((await laptop.history(match, limit=1)).messages) == ["mine"]


async def test_a_user_is_limited_over_http_too(limited: People) -> None:
    """429 with `Retry-After`; the backend is not."""
    alice, bob, match = await limited.pair()
    user = limited.as_user(await limited.api.token(name_of(alice)))

    def post(number: int) -> bytes:
        return msgspec.json.encode({"client_id": f"c{number}", "body": {"text": "x"}})

    answers = [await user.exchange("POST", f"/v1/matches/{match}/messages", post(number)) for number in range(25)]
    assert [answer.status for answer in answers] == [201] * 20 + [429] * 5
    for answer in answers[20:]:
        error = msgspec.json.decode(answer.body)["error"]
        assert error["code"] == ErrorCode.RATE_LIMITED
        assert 0 < error["retry_after_ms"] <= 100_000
        assert answer.headers["retry-after"] == str(ceil(error["retry_after_ms"] / 1000))
    for number in range(30):
        await limited.api.post(match, name_of(bob), f"b{number}", "x")


async def test_the_largest_message_is_stored(people: People) -> None:
    """4,000 characters, whatever their bytes, beside 16 KiB of data; one more of either is refused."""
    alice, _, match = await people.pair()
    filler = "x" * (DATA_MAX_BYTES - len('{"d":""}'))
    await alice.send(match, "😀" * TEXT_MAX_CHARS, "c1", data={"d": filler})
    refusals: list[tuple[str, JsonObject | None, ErrorCode]] = [
        ("x" * (TEXT_MAX_CHARS + 1), None, ErrorCode.BAD_REQUEST),
        ("x", {"d": filler + "x"}, ErrorCode.TOO_LARGE),
        ("", None, ErrorCode.BAD_REQUEST),
        ("\x00", None, ErrorCode.BAD_REQUEST),
    ]
    for text, data, code in refusals:
        with pytest.raises(Refused) as refused:
            await alice.send(match, text, "c2", data=data)
        assert refused.value.code is code
    (stored, _) = (await alice.history(match)).messages
    assert text_of(stored) == "😀" * TEXT_MAX_CHARS


# ---- frames


async def test_what_cannot_be_understood_is_answered_and_the_connection_stays(people: People) -> None:
    """With the request's id where there is one, and the path of the field, never its value."""
    (alice,) = people.users("alice")
    client = await people.come(alice)
    for payload, code, request_id in (
        (b"not json", ErrorCode.BAD_JSON, None),
        (b"[]", ErrorCode.BAD_REQUEST, None),
        (b'{"type":"message.edit","id":14}', ErrorCode.UNKNOWN_TYPE, 14),
        (b'{"type":"history","id":"h","match":"secret-value","limit":1000}', ErrorCode.BAD_REQUEST, "h"),
        (b'{"type":"history","id":16,"match":"secret\\u0000value"}', ErrorCode.BAD_REQUEST, 16),
    ):
        client.send_raw(payload)
        error = await client.next(Error)
        assert (error.code, error.id) == (code, request_id)
        assert "secret" not in error.message
    await client.ping()


async def test_unknown_fields_are_ignored(people: People) -> None:
    """A later client may send more than this server knows."""
    alice, bob, match = await people.pair()
    alice.send_raw(msgspec.json.encode({"type": "typing", "match": match, "on": True, "mood": {"of": ["a later", 2]}}))
    assert (await bob.next(TypingSeen)).user == name_of(alice)


async def test_twenty_malformed_messages_in_a_row_end_the_connection(people: People) -> None:
    """With 4502; one good message in between starts the count anew."""
    (alice,) = people.users("alice")
    patient, broken = await people.come(alice), await people.come(alice)
    for client in (patient, broken):
        for _ in range(19):
            client.send_raw(b"{")
        assert len(await came(client, Error)) == 19
    for _ in range(19):
        patient.send_raw(b"{")
    assert len(await came(patient, Error)) == 19
    for _ in range(20):
        broken.send_raw(b"{")
    assert await broken.closed() == 4502


async def test_a_flood_of_frames_ends_the_connection(people: People) -> None:
    """With 4009, which comes back later."""
    (alice,) = people.users("alice")
    client = await people.come(alice)
    for number in range(2_000):
        client.send_raw(b'{"type":"typing","match":"m%d","on":true}' % number)
    assert await client.closed() == 4009


async def test_a_message_over_the_limit_ends_the_connection(people: People) -> None:
    """With 1009; the largest frame is fine."""
    (alice,) = people.users("alice")
    client = await people.come(alice)
    padding = b" " * (FRAME_MAX_BYTES - len(b'{"type":"ping","id":77}'))
    client.send_raw(b'{"type":"ping","id":77}' + padding[:-1] + b"x")
    assert (await client.next(Error)).code is ErrorCode.BAD_JSON
    client.send_raw(b'{"type":"ping","id":77}' + padding + b" ")
    assert await client.closed() == 1009


async def test_too_many_reads_at_once_are_told_to_wait(people: People) -> None:
    """Each request has one answer, a page or `rate_limited` with a time to wait."""
    alice, _, match = await people.pair()
    requests = [History(alice.next_id(), match) for _ in range(100)]
    outcomes = await asyncio.gather(*(alice.request(each, lambda _: None) for each in requests), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) <= 84
    for outcome in refused:
        assert isinstance(outcome, Refused)
        assert outcome.code is ErrorCode.RATE_LIMITED
        assert outcome.error.retry_after_ms
    assert len((await alice.history(match)).messages) == 1


async def test_a_reader_too_slow_is_closed_and_resumes(common_server: PrivateServer) -> None:
    """With 4008 when more than the bound waits for it; the writer and the other reader notice nothing."""
    async with people_on(common_server) as people:
        alice, bob, match = await people.pair()
        slow = await people.come(name_of(bob))
        held = await alice.send(match, "held", "c0")
        await slow.next(Message)
        before = await numbers(people.api)
        slow.pause()
        sent = 0
        while (await numbers(people.api))["slow_readers_closed"] == before["slow_readers_closed"]:
            await asyncio.gather(
                *(alice.send(match, "", fresh("c"), data={"x": "x" * 16_000}) for _ in range(20)),
            )
            sent += 20
            assert sent < 2_000
        assert len(await came(bob, Message)) == sent + 1
        slow.resume()
        assert await slow.closed() == 4008
        back = await people.come(name_of(bob), {match: cursor_of(held)})
        assert len(await came(back, Message)) == min(sent, 200)


# ---- connections


async def test_so_many_connections_from_one_address(people: People) -> None:
    """One more is answered 429 over HTTP; when one ends there is room again."""
    await gauges_at_zero(people.api)
    clients = [await people.visitor() for _ in range(PER_ADDRESS - 1)]  # the API's is one as well
    with pytest.raises(HandshakeRefused) as refused:
        await people.visitor()
    assert refused.value.status == 429
    await clients[0].close()
    await until_numbers(people.api, lambda now: now["connections_open"] == PER_ADDRESS - 2)
    await people.visitor()


@pytest.mark.parametrize(
    "origin, welcome", [(None, True), ("own", True), ("http://evil.example", False), ("null", False)]
)
async def test_only_pages_of_allowed_origins_may_connect(people: People, origin: str | None, welcome: bool) -> None:
    """403 for the rest; programs send no origin at all."""
    headers = {} if origin is None else {"Origin": people.server.http_url if origin == "own" else origin}
    if welcome:
        people.leaves(await Client.connect(people.server.ws_url, headers=headers))
        return
    with pytest.raises(HandshakeRefused) as refused:
        await Client.connect(people.server.ws_url, headers=headers)
    assert refused.value.status == 403
