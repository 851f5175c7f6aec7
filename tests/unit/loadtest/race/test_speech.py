"""What is said carries its number and its time, has one length, and is known from everything else that comes."""

import asyncio

import pytest
from websockets.asyncio.server import ServerConnection, serve

from loadtest.connection import open_connection
from loadtest.race import speech
from loadtest.race.speech import (
    TEXT_CHARS,
    Centrifugo,
    Duologue,
    DuologueSignals,
    NotEntered,
    Relay,
    SocketIo,
    Speech,
    answered,
    sent_at_us,
)
from protocol.codec import decode
from protocol.from_client import MessageSend, Typing

OURS = Duologue("http://127.0.0.1:1", "key", "secret", 0)
WITH_TEXT: list[Speech] = [OURS, Relay("/room/"), SocketIo(), Centrifugo()]


def payload_of(frame: bytes) -> bytes:
    """Return what a client's frame carries: its mask is zero."""
    head = 8 if frame[1] & 0x7F == 126 else 6
    return frame[head:]


@pytest.mark.parametrize("contestant", WITH_TEXT)
def test_a_text_carries_when_it_was_sent(contestant: Speech) -> None:
    say = contestant.says("alice", "room")
    payload = payload_of(say(7, 1_795_000_000))
    assert sent_at_us(payload) == 1_795_000_000
    text = payload[payload.index(b"@") :].split(b'"')[0]
    assert len(text) == TEXT_CHARS
    assert len(say(1, 0)) <= len(say(123_456_789, 1 << 50))


def test_a_message_of_ours_is_one_that_the_server_reads() -> None:
    """Each has a client_id of its own."""
    say = OURS.says("alice", "room")
    first, second = (decode(payload_of(say(number, 5))) for number in (1, 2))
    assert isinstance(first, MessageSend)
    assert isinstance(second, MessageSend)
    assert (first.match, first.client_id, second.client_id) == ("room", "alice-1", "alice-2")
    signal = DuologueSignals(OURS).says("alice", "room")(1, 5)
    assert decode(payload_of(signal)) == Typing(first.match, True)


@pytest.mark.parametrize(
    "contestant, heard, else_heard",
    [
        (OURS, b'{"type":"message","match":"m"}', b'{"type":"ok","id":1}'),
        (DuologueSignals(OURS), b'{"type":"typing","match":"m"}', b'{"type":"presence"}'),
        (Relay("/"), b"@0000", b"hello"),
        (SocketIo(), b'42["said","@0"]', b"2"),
        (Centrifugo(), b'{"push":{"channel":"r","pub":{"data":{"by":"bob"}}}}', b'{"id":7,"publish":{}}'),
        (
            Centrifugo(),
            b'{"push":{"channel":"r","pub":{"data":{"by":"bob"}}}}',
            b'{"push":{"pub":{"data":{"by":"alice"}}}}',
        ),
    ],
)
def test_others_are_heard_and_nothing_else(contestant: Speech, heard: bytes, else_heard: bytes) -> None:
    hears = contestant.hears("alice")
    assert hears(heard)
    assert not hears(else_heard)


def test_signs_of_life_are_given_where_they_are_asked_for() -> None:
    asked: list[tuple[Speech, bytes]] = [(SocketIo(), b"2"), (Centrifugo(), b"{}")]
    for contestant, payload in asked:
        answer = contestant.alive(payload)
        assert answer is not None
        assert payload_of(answer) in (b"3", b"{}")
        assert contestant.alive(b"anything else") is None
    silent: list[Speech] = [OURS, DuologueSignals(OURS), Relay("/")]
    assert [each.alive(b"2") for each in silent] == [None] * 3


def test_rooms_are_addresses_for_some_and_names_for_others() -> None:
    assert Relay("/room/").path("a") == "/room/a"
    assert {each.path("a") for each in (OURS, DuologueSignals(OURS))} == {"/ws"}
    assert Centrifugo().path("a") == Centrifugo().path("b")


async def test_centrifugo_is_entered_as_its_documentation_says() -> None:
    """Connect, then subscribe; a stand-in answers, because no binary is at hand."""
    heard: list[str] = []

    async def answer(connection: ServerConnection) -> None:
        for reply in ('{"id":1,"connect":{"client":"c"}}', '{"id":2,"subscribe":{}}'):
            heard.append(str(await connection.recv()))
            await connection.send(reply)
        await connection.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = await open_connection(f"ws://127.0.0.1:{port}/connection/websocket", lambda _: None)
        await Centrifugo().prepare({})
        await Centrifugo().enter(connection, "alice", "room")
        await connection.close()
    assert heard == ['{"id":1,"connect":{}}', '{"id":2,"subscribe":{"channel":"room"}}']


async def test_who_is_not_let_in_learns_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "PATIENCE_S", 0.1)

    async def refuse(connection: ServerConnection) -> None:
        await connection.send('{"error":"no"}')
        await connection.wait_closed()

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = await open_connection(f"ws://127.0.0.1:{port}/", lambda _: None)
        with pytest.raises(NotEntered, match="but"):
            await answered(connection, b"", b"never")
        connection.abort()
        await asyncio.shield(connection.closed)
