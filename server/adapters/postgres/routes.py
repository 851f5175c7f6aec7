"""The outbox of the PostgreSQL store, for the bus: which batches are stored but not yet known to be on their way."""

from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from protocol.ids import Micros
from server.adapters.postgres.connections import Connections
from server.adapters.postgres.statements import repeatable
from server.core.routes import ROUTES_KEPT_S, Route, Span

KEPT_US: Final = ROUTES_KEPT_S * 1_000_000
MARK_ROUTED: Final = "SELECT duologue.mark_routed($1, $2)"
CLAIM: Final = "SELECT route_id, node, matches, first_ats, last_ats FROM duologue.claim_unrouted($1, $2, $3, $4)"
WITHIN: Final = "SELECT route_id, node, matches, first_ats, last_ats FROM duologue.routes_since(coalesce($2, duologue.now_us()) - $1)"
NOTHING: Final = """
    INSERT INTO duologue.routes (node, matches, first_ats, last_ats, touched_at, is_routed)
    VALUES ('', '{}', '{}', '{}', coalesce($1, duologue.now_us()), true)
"""
EXPIRE: Final = "SELECT duologue.expire_routed($1, $2)"


class Outbox:
    """The table of routes. `now` stands for the database's clock, in tests."""

    __slots__ = ("_connections", "_now")

    def __init__(self, connections: Connections, now: Callable[[], Micros] | None) -> None:
        self._connections = connections
        self._now = now

    async def mark_routed(self, ids: Sequence[int]) -> None:
        """Note that these batches are on their way to every node."""
        if ids:
            await repeatable(self._connections, MARK_ROUTED, list(ids), self._time())

    async def claim_unrouted(self, node: str, older_than_s: float, limit: int) -> list[Route]:
        """Take over batches that nobody routed for so long; no other node gets them until they are as old again."""
        rows = await repeatable(self._connections, CLAIM, node, round(older_than_s * 1_000_000), limit, self._time())
        return [_route(row) for row in rows]

    async def routes_within(self, age_s: float) -> list[Route]:
        """Read the batches that were stored, claimed or routed within the last `age_s` seconds, by the database's clock."""
        return [
            _route(row) for row in await repeatable(self._connections, WITHIN, round(age_s * 1_000_000), self._time())
        ]

    async def expire_routed(self) -> int:
        """Forget what was routed more than two minutes ago; return how many batches that were."""
        ((count,),) = await repeatable(self._connections, EXPIRE, KEPT_US, self._time())
        return int(count)

    async def add_nothing(self) -> None:
        """Add a batch of nothing that is routed already."""
        await repeatable(self._connections, NOTHING, self._time())

    def _time(self) -> Micros | None:
        return self._now() if self._now else None


def _route(row: asyncpg.Record) -> Route:
    route_id, node, *spans = row
    return Route(route_id, node, tuple(map(Span, *spans)))
