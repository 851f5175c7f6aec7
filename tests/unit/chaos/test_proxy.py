"""The way between clients and nodes: it forwards in order, cuts both ends, and delays without disorder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import pytest

from tests.chaos.proxy import Proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A way to a server that says back what it hears."""
    answering: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        with suppress(OSError):
            while heard := await reader.read(1000):
                writer.write(heard)
        await end(writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy(lambda: server.sockets[0].getsockname()[1])
    await proxy.start()
    yield proxy
    proxy.close()
    await asyncio.gather(*filter(None, answering))
    server.close()


async def end(writer: asyncio.StreamWriter) -> None:
    """Close the socket, or find that it was cut."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def test_it_forwards_both_ways_and_the_end(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await end(writer)


async def test_a_cut_is_seen(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    await reader.readexactly(5)
    assert proxy.cut(0.01, Random(1)) == 1
    with suppress(OSError):  # a reset or an end, as the system likes
        assert await reader.read() == b""
    await end(writer)
    assert not proxy.links
    assert proxy.cut(1.0, Random(1)) == 0


async def test_what_is_delayed_keeps_its_order(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"0")
    assert await reader.readexactly(1) == b"0"
    proxy.delay_s = 0.2
    writer.write(b"1")
    while not proxy.delayed:  # noqa: ASYNC110 - a test's look at a number
        await asyncio.sleep(0)
    proxy.delay_s = 0.0
    writer.write(b"2")
    assert await reader.readexactly(2) == b"12"
    await end(writer)


async def test_nobody_listens_there() -> None:
    proxy = Proxy(lambda: 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    with suppress(OSError):  # a reset or an end, as the system likes
        assert await reader.read() == b""
    await end(writer)
    proxy.close()
