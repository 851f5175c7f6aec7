"""What a connection is spared while nobody looks at it: typing and presence, of which only the newest is kept. Pure.

Guarantees: what is given back is the newest of each key, in the order of those news, each once; typing that receivers
would have cleared by themselves meanwhile is not among it. Bounded: presence by what the connection watches (`keep`), typing
by `typing_max`, beyond which what is oldest, and would run out first, is forgotten.
"""

from collections.abc import Collection

from server.core.latest import PRESENCE, TYPING, Key


class HeldBack:
    """Times are seconds of a monotonic clock."""

    __slots__ = ("_presence", "_typing", "_typing_max", "_typing_s")

    def __init__(self, typing_s: float, typing_max: int) -> None:
        """Typing is worth telling for `typing_s`."""
        self._typing_s = typing_s
        self._typing_max = typing_max
        # Both in the order of their news; typing with the time when it runs out.
        self._presence: dict[Key, bytes] = {}
        self._typing: dict[Key, tuple[float, bytes]] = {}

    def __len__(self) -> int:
        return len(self._presence) + len(self._typing)

    def put(self, key: Key, frame: bytes, now: float) -> bool:
        """Keep a frame in place of an earlier one of `key`; False when it is of a kind that nobody is spared."""
        kind = key[0]
        if kind == PRESENCE:
            self._presence.pop(key, None)
            self._presence[key] = frame
        elif kind == TYPING:
            self._typing.pop(key, None)
            if len(self._typing) >= self._typing_max:
                del self._typing[next(iter(self._typing))]
            self._typing[key] = (now + self._typing_s, frame)
        else:
            return False
        return True

    def drop(self, key: Key) -> None:
        """Forget what is kept of `key`: something newer says it all."""
        self._presence.pop(key, None)
        self._typing.pop(key, None)

    def keep(self, users: Collection[str]) -> None:
        """Forget the presence of everybody else: they are watched no more."""
        self._presence = {key: frame for key, frame in self._presence.items() if key[1] in users}

    def forget(self, users: Collection[str]) -> None:
        """Forget all that is about these users: they have nothing to do with this one any more."""
        self._presence = {key: frame for key, frame in self._presence.items() if key[1] not in users}
        self._typing = {key: kept for key, kept in self._typing.items() if key[2] not in users}

    def give_back(self, now: float) -> tuple[tuple[Key, bytes], ...]:
        """Return what is to be told after all."""
        typing = ((key, frame) for key, (until, frame) in self._typing.items() if now < until)
        return (*self._presence.items(), *typing)
