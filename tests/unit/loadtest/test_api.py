"""The HTTP helper: kept connections, chunks, errors in the catalogue's words and without."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.api import Api, ApiError


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve these answers in order, whatever is asked; an empty one drops the connection."""
    waiting, heads = iter(answers), list[bytes]()
    ended: list[asyncio.Event] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        last = ended[-1]
        with contextlib.suppress(asyncio.IncompleteReadError):
            while answer := await _answer(reader):
                writer.write(answer)
        writer.close()
        await writer.wait_closed()
        last.set()

    async def _answer(reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        heads.append(head + await reader.readexactly(length))
        return next(waiting)

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
        for each in ended:
            await each.wait()


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_a_request_carries_the_key_and_the_body() -> None:
    """And names are escaped."""
    answer = b'{"match":"a/b","members":["x","y"],"last_seq":1,"last_at":5,"messages":0}'
    async with answering(ok(answer)) as (url, heads):
        api = Api(url, "key")
        assert (await api.put_match("a/b", ["x", "y"])).members == ("x", "y")
        api.close()
    assert heads[0].startswith(b"PUT /v1/matches/a%2Fb HTTP/1.1\r\n")
    assert b"Authorization: Bearer key\r\n" in heads[0]
    assert heads[0].endswith(b'\r\n\r\n{"members":["x","y"]}')


async def test_a_kept_connection_that_has_gone_is_made_again() -> None:
    """The server restarted between two requests."""
    token = b'{"token":"t","user":"u","expires_at":1}'
    async with answering(ok(token), b"", ok(token), ok(token, b"Connection: close"), ok(token)) as (url, heads):
        api = Api(url, "key")
        for _ in range(4):
            assert await api.token("u") == "t"
        api.close()
    assert len(heads) == 5


async def test_chunks_are_put_together() -> None:
    """RFC 9112 7.1."""
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"con\r\n10\r\nnections": 3}   \r\n0\r\n\r\n'
    async with answering(chunked) as (url, _):
        api = Api(url, "key")
        assert await api.event("u", "poke", {}) == 3
        api.close()


@pytest.mark.parametrize(
    "body, code",
    [(b'{"error":{"code":"not_found","message":"no"}}', "not_found"), (b"<html>", "")],
    ids=["ours", "not"],
)
async def test_an_error_has_its_code(body: bytes, code: str) -> None:
    """Empty when somebody else answered."""
    async with answering(ok(body).replace(b"200 OK", b"404 Not Found")) as (url, _):
        api = Api(url, "key")
        with pytest.raises(ApiError) as error:
            await api.match("m")
        api.close()
    assert (error.value.status, error.value.code) == (404, code)


async def test_a_log_is_read_to_its_end() -> None:
    """Page by page, from the last entry on."""
    entry = b'{"type":"skip","match":"m","seq":%d,"created_at":%d}'
    first = b'{"messages":[%s],"complete":false}' % (entry % (1, 10))
    second = b'{"messages":[%s],"complete":true}' % (entry % (2, 20))
    async with answering(ok(first), ok(second)) as (url, heads):
        api = Api(url, "key")
        assert [each.seq for each in await api.log("m")] == [1, 2]
        api.close()
    assert b"after=10&limit=200" in heads[1]


async def test_messages_and_tickets() -> None:
    """What a backend does in a user's name."""
    posted = b'{"match":"m","seq":2,"created_at":20,"duplicate":false}'
    async with answering(ok(posted), ok(b'{"ticket":"x","expires_in_s":30}'), ok(b"")) as (url, heads):
        api = Api(url, "key")
        assert (await api.post("m", "alice", "c1", "hi")).seq == 2
        assert await api.ticket("alice") == "x"
        await api.end_match("m")
        api.close()
    assert heads[0].endswith(b'{"sender":"alice","client_id":"c1","body":{"text":"hi"}}')
    assert heads[2].startswith(b"DELETE /v1/matches/m ")
