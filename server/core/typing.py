"""Who is writing where: decides which typing signals are worth forwarding. Pure.

Forwards `on` at most once per interval for each (user, match, kind) however many devices send it, and `off` only after an
`on` that was forwarded. After an `off`, a message or a departure the next `on` is forwarded at once, but no sooner than
AGAIN_S after the last. Memory: one small entry per (user, match, kind) that typed within the last expiry time, and one
per question that waits for the store.
"""

from collections.abc import Iterable
from typing import Final

from protocol.from_client import TypingKind
from protocol.ids import MatchId, UserId

AGAIN_S: Final = 0.5


class Question:
    """A signal that waits for the store to tell who is a member. Once it `is_over` nobody need be told any more."""

    __slots__ = ("asked_at", "is_over")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.is_over = False


class TypingBook:
    """Times are seconds of a monotonic clock."""

    __slots__ = ("_expires_s", "_forwarded_at", "_interval_s", "_on", "_questions")

    def __init__(self, interval_s: float, expires_s: float) -> None:
        self._interval_s = interval_s
        self._expires_s = expires_s
        # In the order of their times, because an entry is put at the end whenever its time changes.
        self._forwarded_at: dict[tuple[UserId, MatchId, TypingKind], float] = {}
        self._on: dict[UserId, dict[tuple[MatchId, TypingKind], None]] = {}
        # Likewise; signals of one user in one match share a question.
        self._questions: dict[tuple[UserId, MatchId], Question] = {}

    def __len__(self) -> int:
        return len(self._forwarded_at) + len(self._questions)

    def should_forward(self, user: UserId, match: MatchId, kind: TypingKind, *, on: bool, now: float) -> bool:
        """Tell whether the other members should hear of this signal."""
        if not on:
            return self._ended(user, match, kind)
        key = (user, match, kind)
        last = self._forwarded_at.get(key)
        if last is not None and now - last < self._pause_s(user, match, kind):
            return False
        self._forwarded_at.pop(key, None)
        self._forwarded_at[key] = now
        self._on.setdefault(user, {})[match, kind] = None
        return True

    def _pause_s(self, user: UserId, match: MatchId, kind: TypingKind) -> float:
        goes_on = (match, kind) in self._on.get(user, ())
        return self._interval_s if goes_on else min(self._interval_s, AGAIN_S)

    def ask(self, user: UserId, match: MatchId, now: float) -> Question:
        """Have a signal wait until the members of its match are known; a message that comes before ends it."""
        return self._questions.setdefault((user, match), Question(now))

    def concerns(self, users: Iterable[UserId]) -> bool:
        """Tell whether a message of one of `users` may end something here."""
        return bool(self._questions) or any(user in self._on for user in users)

    def stopped(self, user: UserId, match: MatchId) -> tuple[TypingKind, ...]:
        """Note that the user stopped, as a message says by itself; return as what they were shown."""
        if self._questions:
            question = self._questions.pop((user, match), None)
            if question is not None:
                question.is_over = True
        if user not in self._on:
            return ()
        return tuple(kind for kind in TypingKind if self._ended(user, match, kind))

    def shown(self, user: UserId) -> tuple[tuple[MatchId, TypingKind], ...]:
        """Return where the user is shown as writing, and as what."""
        return tuple(self._on.get(user, ()))

    def user_left(self, user: UserId) -> tuple[tuple[MatchId, TypingKind], ...]:
        """Forget the user's signals; return where they are shown, and as what."""
        return tuple(self._on.pop(user, ()))

    def settle(self, now: float) -> None:
        """Drop what has expired at the receivers too, and what was asked so long ago."""
        keep_s = max(self._interval_s, self._expires_s)
        expired = []
        for key, at in self._forwarded_at.items():
            if now - at < keep_s:
                break
            expired.append(key)
        for key in expired:
            del self._forwarded_at[key]
            self._ended(*key)
        for place, question in tuple(self._questions.items()):
            if now - question.asked_at < self._expires_s:
                break
            del self._questions[place]
            question.is_over = True

    def _ended(self, user: UserId, match: MatchId, kind: TypingKind) -> bool:
        shown = self._on.get(user)
        if shown is None or (match, kind) not in shown:
            return False
        del shown[match, kind]
        if not shown:
            del self._on[user]
        return True
