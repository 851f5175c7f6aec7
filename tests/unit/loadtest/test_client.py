"""The client against a scripted server: answers find their request, pushes are kept, ends have a code."""

import asyncio
from collections.abc import Callable
from contextlib import closing

import pytest

from loadtest.client import Client, Closed, Refused
from loadtest.connection import HandshakeRefused, open_connection
from loadtest.frames import TEXT
from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_client import AuthRefresh, History, Matches, MessageSend, Ping, PresenceWatch, Receipt, Sync, Typing
from protocol.from_server import Error, Gap, HistoryPage, MatchesPage, Ok, ServerMessage, Synced, TypingSeen, Watching
from protocol.ids import MatchId, Micros, Seq, UserId
from tests.unit.loadtest.scripted import Talk, scripted

M = MatchId("m")


async def test_answers_find_their_request_in_any_order() -> None:
    """Two under way, answered the wrong way round, one of them refused."""

    async def script(talk: Talk) -> None:
        await talk.greet()
        first, second = await talk.hear(), await talk.hear()
        assert isinstance(first, MessageSend)
        assert isinstance(second, Ping)
        await talk.say(Ok(second.id), Error(ErrorCode.NOT_MEMBER, "no", first.id))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url, token="t")
        assert (await client.hello()).user == "alice"
        sent, pong = await asyncio.gather(client.send("m", "hi", "c"), client.ping(), return_exceptions=True)
        assert isinstance(sent, Refused)
        assert sent.code is ErrorCode.NOT_MEMBER
        assert isinstance(pong, Ok)
        assert client.is_open
        assert await client.close() == CloseCode.NORMAL
        assert not client.is_open


async def test_pushes_are_kept_and_can_be_waited_for() -> None:
    """Those before the one that was waited for are forgotten, those after are kept."""

    async def script(talk: Talk) -> None:
        await talk.greet()
        await talk.say(Gap(M), TypingSeen(M, UserId("bob"), True), Gap(MatchId("n")))
        await talk.hear()
        await talk.say(Error(ErrorCode.BAD_JSON, "what?"), TypingSeen(M, UserId("bob"), False))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url, token="t")
        await client.hello()
        assert (await client.next(TypingSeen)).on
        assert (await client.next(Gap)).match == "n"
        client.typing("m")
        assert not (await client.next(TypingSeen, matching=lambda push: not push.on)).on
        assert client.pushes == []
        with pytest.raises(TimeoutError):
            await client.next(Gap, within_s=0.01)
        await client.close()


async def test_pushes_may_go_elsewhere() -> None:
    """For those who count and keep nothing."""
    seen: list[object] = []
    done = asyncio.Event()

    def on_push(push: object) -> None:
        seen.append(push)
        done.set()

    async def script(talk: Talk) -> None:
        await talk.say(Gap(M))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url, on_push=on_push, headers={"Authorization": "Bearer t"})
        await done.wait()
        assert (seen, client.pushes) == ([Gap(M)], [])
        await client.close()


async def test_what_waits_is_told_of_the_end() -> None:
    """With the code, and later requests too."""

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.connection.close(CloseCode.TOKEN_INVALID, "go away")

    async with scripted(script) as url:
        client = await Client.connect(url, token="t")
        with pytest.raises(Closed, match="4501"):
            await client.hello()
        assert await client.closed() == CloseCode.TOKEN_INVALID
        with pytest.raises(Closed, match="4501"):
            await client.ping()


async def test_a_cut_is_1006() -> None:
    """Nobody said goodbye."""

    async def script(talk: Talk) -> None:
        talk.connection.transport.abort()

    async with scripted(script) as url:
        client = await Client.connect(url)
        assert await client.closed() == CloseCode.ABNORMAL
        client.abort()
        client.pause()
        client.resume()
        client.send_raw(b"into the void")


async def test_pings_of_the_server_are_answered() -> None:
    """Else it would close."""

    async def script(talk: Talk) -> None:
        await (await talk.connection.ping())
        await talk.say(Gap(M))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url)
        await client.next(Gap)
        await client.close()


async def test_a_paused_reader_reads_later() -> None:
    """And broken bytes can be written."""

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(Gap(M))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url, ticket="x")
        client.pause()
        client.tell(Typing(M, True))
        client.resume()
        await client.next(Gap)
        client.write_raw(b"\xff\xff\xff\xff\xff\xff")
        assert await client.closed() == CloseCode.PROTOCOL_ERROR


async def test_every_request_has_its_answer() -> None:
    """As the protocol pairs them."""
    answers: dict[type, Callable[[int], ServerMessage]] = {
        History: lambda number: HistoryPage(number, M, (), True),
        Sync: lambda number: Synced(number, {}, ()),
        Matches: lambda number: MatchesPage(number, (), True),
        Receipt: Ok,
        PresenceWatch: lambda number: Watching(number, ()),
    }

    async def script(talk: Talk) -> None:
        for _ in range(7):
            request = await talk.hear()
            number = getattr(request, "id", None)
            assert isinstance(number, int)
            await talk.say(answers[type(request)](number))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url)
        assert (await client.history("m", before=5, limit=1)).complete
        assert (await client.history("m", after=5)).messages == ()
        assert (await client.sync({M: (Seq(1), Micros(1))})).matches == {}
        assert (await client.matches(before=5)).complete
        assert (await client.matches()).matches == ()
        assert (await client.receipt("m", delivered=2, read=1)).id == 6
        assert (await client.watch("bob")).presence == ()
        await client.close()


async def test_a_token_is_refreshed() -> None:
    """`auth.refresh`."""

    async def script(talk: Talk) -> None:
        request = await talk.hear()
        assert isinstance(request, AuthRefresh)
        await talk.say(Ok(request.id))
        await talk.connection.wait_closed()

    async with scripted(script) as url:
        client = await Client.connect(url)
        assert await client.refresh("newer") == Ok(1)
        await client.close()


@pytest.mark.parametrize(
    "answer, status",
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n", 101),
        (b"", 0),
        (b"x" * 20_000, 0),
    ],
    ids=["403", "wrong accept", "nothing", "endless head"],
)
async def test_a_refused_upgrade_tells_the_status(answer: bytes, status: int) -> None:
    """0 when there was no answer at all."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HandshakeRefused) as refused:
            await open_connection(f"ws://127.0.0.1:{port}/ws", lambda _: None)
        assert refused.value.status == status


async def test_a_head_and_a_frame_may_come_in_pieces() -> None:
    """One byte at a time, and a frame that no server should send ends it."""
    got: list[bytes] = []
    heard = asyncio.Event()

    def on_text(payload: bytes) -> None:
        got.append(payload)
        heard.set()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            for byte in head + bytes((0x80 | TEXT, 2)) + b"hi":
                writer.write(bytes((byte,)))
                await writer.drain()
            await heard.wait()
            writer.write(b"\x01\x01x")
            await reader.read()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await open_connection(f"ws://127.0.0.1:{port}/ws", on_text)
        assert await connection.closed == CloseCode.PROTOCOL_ERROR
        assert got == [b"hi"]
