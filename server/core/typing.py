"""Who is writing where: decides which typing signals are worth forwarding. Pure.

Forwards `on` at most once per interval for each (user, match) however many devices send it, and `off` only after an
`on` that was forwarded. Memory: one small entry per (user, match) that typed within the last expiry time.
"""

from protocol.ids import MatchId, UserId


class TypingBook:
    """Times are seconds of a monotonic clock."""

    __slots__ = ("_expires_s", "_forwarded_at", "_interval_s", "_on")

    def __init__(self, interval_s: float, expires_s: float) -> None:
        self._interval_s = interval_s
        self._expires_s = expires_s
        # In the order of their times, because an entry is put at the end whenever its time changes.
        self._forwarded_at: dict[tuple[UserId, MatchId], float] = {}
        self._on: dict[UserId, dict[MatchId, None]] = {}

    def __len__(self) -> int:
        return len(self._forwarded_at)

    def should_forward(self, user: UserId, match: MatchId, *, on: bool, now: float) -> bool:
        """Tell whether the other members should hear of this signal."""
        if not on:
            return self.stopped(user, match)
        key = (user, match)
        last = self._forwarded_at.get(key)
        if last is not None and now - last < self._interval_s:
            return False
        self._forwarded_at.pop(key, None)
        self._forwarded_at[key] = now
        self._on.setdefault(user, {})[match] = None
        return True

    def stopped(self, user: UserId, match: MatchId) -> bool:
        """Note that the user stopped, as a message says by itself; tell whether they were shown as writing."""
        matches = self._on.get(user)
        if matches is None or match not in matches:
            return False
        del matches[match]
        if not matches:
            del self._on[user]
        return True

    def user_left(self, user: UserId) -> tuple[MatchId, ...]:
        """Forget the user's signals; return the matches that show them as writing."""
        return tuple(self._on.pop(user, ()))

    def settle(self, now: float) -> None:
        """Drop what has expired at the receivers too."""
        keep_s = max(self._interval_s, self._expires_s)
        expired = []
        for key, at in self._forwarded_at.items():
            if now - at < keep_s:
                break
            expired.append(key)
        for key in expired:
            del self._forwarded_at[key]
            self.stopped(*key)
