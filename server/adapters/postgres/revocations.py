"""The revocations of the PostgreSQL store."""

from collections.abc import Callable
from typing import Final

from protocol.ids import Micros
from server.adapters.postgres.connections import Connections
from server.adapters.postgres.statements import repeatable
from server.core.revocations import Revocation, RevocationPage

# Further back than any transaction of ours takes.
OVERLAP_US: Final = 15_000_000
REVOKE: Final = "SELECT duologue.revoke($1, $2, $3, $4, $5)"
AFTER: Final = "SELECT asked_at, user_id, token_id, issued_before, until FROM duologue.revocations_after($1, $2)"


class RevocationTable:
    """The table of revocations; a position is a time of the database. `now` stands for its clock, in tests."""

    __slots__ = ("_now", "_readers", "_writers")

    def __init__(self, writers: Connections, readers: Connections, now: Callable[[], Micros] | None) -> None:
        self._writers = writers
        self._readers = readers
        self._now = now

    async def revoke(self, revocation: Revocation) -> None:
        """Keep a revocation, one commit."""
        user, token_id = revocation.user, revocation.token_id or ""
        arguments = (user, token_id, revocation.issued_before, revocation.until, self._time())
        await repeatable(self._writers, REVOKE, *arguments)

    async def after(self, position: int) -> RevocationPage:
        """Read what was kept since `position`, and a little of what was kept before."""
        rows = await repeatable(self._readers, AFTER, max(0, position - OVERLAP_US), self._time())
        found = tuple(
            Revocation(user, token_id or None, before, until)
            for _, user, token_id, before, until in rows
            if user is not None
        )
        return RevocationPage(found, int(rows[0][0]))

    def _time(self) -> Micros | None:
        return self._now() if self._now else None
