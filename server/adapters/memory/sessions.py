"""The `Sessions` port of a single node; several nodes of one process may share the table of one."""

from collections.abc import Iterator, Sequence

from protocol.ids import SessionId, UserId
from server.core.sessions import SessionInfo

Table = dict[UserId, SessionInfo | tuple[SessionInfo, ...]]


class MemorySessions:
    """Sessions in a dictionary. Most users have one: the tuple of several is made only for those who do."""

    __slots__ = ("_node", "_table")

    def __init__(self, node: str, shared_with: "MemorySessions | None" = None) -> None:
        self._node = node
        self._table: Table = shared_with._table if shared_with is not None else {}

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[SessionInfo]:
        for user in list(self._table):
            yield from self._of(user)

    @property
    def node(self) -> str:
        """The name that this node was given."""
        return self._node

    def add(self, session: SessionInfo) -> None:
        """Keep it instead of what was kept under the same name."""
        others = self._others(session.user, session.session)
        self._table[session.user] = (*others, session) if others else session

    def remove(self, user: UserId, session: SessionId) -> None:
        """Forget it."""
        others = self._others(user, session)
        if not others:
            self._table.pop(user, None)
        else:
            self._table[user] = others[0] if len(others) == 1 else others

    async def of(self, user: UserId) -> Sequence[SessionInfo]:
        """List the user's sessions."""
        return sorted(self._of(user), key=lambda session: session.connected_at)

    def _of(self, user: UserId) -> tuple[SessionInfo, ...]:
        kept = self._table.get(user, ())
        return kept if isinstance(kept, tuple) else (kept,)

    def _others(self, user: UserId, session: SessionId) -> tuple[SessionInfo, ...]:
        return tuple(kept for kept in self._of(user) if kept.session != session)
