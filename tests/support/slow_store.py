"""A store whose answers a test holds back, or replaces by failures, one call at a time."""

import asyncio
from collections.abc import Sequence

from typing_extensions import override

from protocol.ids import MatchId, UserId
from server.adapters.memory.store import MemoryStore
from server.core.log import Append, Appended, Mark, Marked, MembersSet, Refused, SummaryPage
from server.ports import Clock


class HeldStore(MemoryStore):
    """A memory store that waits at its door. `calls` tells what came; `failures` are raised first, in order."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.calls: list[tuple[str, int]] = []
        self.failures: list[Exception] = []
        self.failures_after: list[Exception] = []
        self.door = asyncio.Event()
        self.door.set()
        self.arrived = asyncio.Semaphore(0)

    async def arrivals(self, count: int) -> None:
        """Wait until `count` calls more stand at the door."""
        for _ in range(count):
            await self.arrived.acquire()

    async def _enter(self, name: str, size: int) -> None:
        self.calls.append((name, size))
        self.arrived.release()
        await self.door.wait()
        if self.failures:
            raise self.failures.pop(0)

    def _leave(self) -> None:
        if self.failures_after:
            raise self.failures_after.pop(0)

    @override
    async def append(self, batch: Sequence[Append]) -> Sequence[Appended | Refused]:
        await self._enter("append", len(batch))
        outcomes = await super().append(batch)
        self._leave()
        return outcomes

    @override
    async def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        await self._enter("set_members", len(members))
        return await super().set_members(match, members)

    @override
    async def mark(self, batch: Sequence[Mark]) -> Sequence[Marked | None]:
        await self._enter("mark", len(batch))
        return await super().mark(batch)

    @override
    async def welcome(self, users: Sequence[UserId], limit: int) -> Sequence[SummaryPage]:
        await self._enter("welcome", len(users))
        return await super().welcome(users, limit)
