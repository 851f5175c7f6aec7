"""The processes that make the load: those that are started here, and agents on other machines."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from loadtest.clock import fresh_secret, monotonic_us
from loadtest.jobs import Clock, ClockIs, Failed, FromAgent, ToAgent
from loadtest.link import Link, LinkRefused, call_agent

TOKEN_VARIABLE: Final = "LOADTEST_AGENT_TOKEN"  # noqa: S105 - the name of a variable
READY: Final = "listening on port "
_PINGS: Final = 9
_READY_WITHIN_S: Final = 60.0


class AgentLost(Exception):
    """A process that made load is gone or cannot go on."""


@dataclass(slots=True)
class Member:
    """One of them. Its clock plus `offset_us` is ours, to within `uncertain_us`."""

    number: int
    name: str
    link: Link[FromAgent, ToAgent]
    offset_us: int = 0
    uncertain_us: int = 0

    async def hear(self) -> FromAgent:
        """Wait for what it says next; raise `AgentLost`."""
        heard = await self.link.hear()
        if heard is None:
            raise AgentLost(f"{self.name} has gone")
        if isinstance(heard, Failed):
            raise AgentLost(f"{self.name}: {heard.reason}")
        return heard

    async def ask_clock(self) -> None:
        """Compare clocks: of several answers the quickest says most."""
        best_us = None
        for number in range(_PINGS):
            asked_us = monotonic_us()
            self.link.tell(Clock(number))
            heard = await self.hear()
            while not isinstance(heard, ClockIs):
                heard = await self.hear()
            took_us = monotonic_us() - asked_us
            if best_us is None or took_us < best_us:
                best_us = took_us
                self.offset_us = asked_us + took_us // 2 - heard.at_us
                self.uncertain_us = took_us // 2


@asynccontextmanager
async def team(processes: int, agents: Sequence[str], token: str) -> AsyncIterator[list[Member]]:
    """Start `processes` here, or call the agents at `host:port`; raise `OSError`, `LinkRefused` or `AgentLost`."""
    async with AsyncExitStack() as stack:
        members: list[Member] = []
        if agents:
            for number, where in enumerate(agents):
                members.append(Member(number, where, await _called(where, token)))
        else:
            secret = fresh_secret()
            for number in range(processes):
                port = await stack.enter_async_context(_started(secret))
                members.append(Member(number, f"process {number + 1}", await call_agent("127.0.0.1", port, secret)))
        for member in members:
            stack.callback(member.link.close)
            await member.ask_clock()
            if not agents or abs(member.offset_us) <= member.uncertain_us:
                # The same machine has the same clock; what was measured is the way there.
                member.offset_us = member.uncertain_us = 0
        yield members


async def _called(where: str, token: str) -> Link[FromAgent, ToAgent]:
    host, _, digits = where.rpartition(":")
    if not host or not digits.isdecimal():
        raise AgentLost(f"{where!r} is not HOST:PORT, where an agent listens")
    try:
        return await call_agent(host, int(digits), token)
    except OSError as problem:
        raise AgentLost(f"no agent answers at {where} ({problem.strerror or problem}): start one there") from None
    except LinkRefused:
        raise AgentLost(f"the agent at {where} has another {TOKEN_VARIABLE}, or is busy with somebody else") from None


@asynccontextmanager
async def _started(secret: str) -> AsyncIterator[int]:
    """Run an agent of our own until the block ends; yield its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest", "agent", "--once",
        env={**os.environ, TOKEN_VARIABLE: secret},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield await _port(process)
        async with asyncio.timeout(_READY_WITHIN_S):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(_READY_WITHIN_S):
        async for line in process.stdout:
            _, found, port = line.decode().partition(READY)
            if found:
                return int(port)
    raise AgentLost("a process of the load tester ended before it began")
