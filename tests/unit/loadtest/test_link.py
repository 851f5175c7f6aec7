"""The line between coordinator and agent: who does not know the token hears nothing, and an agent does nothing for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.agent import serve
from loadtest.clock import monotonic_us
from loadtest.jobs import Clock, ClockIs, Failed, Finish, Pace
from loadtest.link import Link, LinkRefused, call_agent
from loadtest.team import AgentLost, Member

TOKEN = "a token that both know"


@asynccontextmanager
async def agent() -> AsyncIterator[int]:
    """Run an agent in this process; yield its port."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve("127.0.0.1", 0, TOKEN, once=True, ready=listening.set_result))
    yield await listening
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_knows_the_token_is_answered() -> None:
    """And the clocks of one machine are found to be one."""
    async with agent() as port:
        link = await call_agent("127.0.0.1", port, TOKEN)
        link.tell(Clock(7))
        heard = await link.hear()
        assert isinstance(heard, ClockIs)
        assert heard.number == 7
        assert 0 <= monotonic_us() - heard.at_us < 60_000_000
        member = Member(0, "agent", link)
        await member.ask_clock()
        assert abs(member.offset_us) <= member.uncertain_us
        link.close()


async def test_who_does_not_know_the_token_is_refused_on_both_sides() -> None:
    """The agent stays there for others."""
    async with agent() as port:
        with pytest.raises(LinkRefused):
            await call_agent("127.0.0.1", port, "a guess")
        link = await call_agent("127.0.0.1", port, TOKEN)
        link.close()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01x\x00\x00\x00\x00", b""]
)
async def test_what_is_no_coordinator_is_hung_up_on(said: bytes) -> None:
    """Before it heard anything but a random number."""
    async with agent() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        writer.write_eof()
        heard = await reader.read()
        assert len(heard) <= 4 + 64 + 4 + 32
        writer.close()
        await writer.wait_closed()


async def test_an_agent_without_a_job_says_so() -> None:
    """Rather than to wait for ever."""
    async with agent() as port:
        link = await call_agent("127.0.0.1", port, TOKEN)
        for message in (Finish(), Pace(1.0)):
            link.tell(message)
            heard = await link.hear()
            assert isinstance(heard, Failed)
        link.tell(Finish())
        with pytest.raises(AgentLost, match="Finish before a job"):
            await Member(0, "agent", link).hear()
        link.close()


async def test_an_agent_that_goes_is_missed() -> None:
    """By name."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        link: Link[Failed, Clock] = Link(reader, writer, Failed)
        assert await link.hear() is None
        writer.close()
        await writer.wait_closed()
