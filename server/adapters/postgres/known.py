"""What this node knows of the newest state of matches, so that a replica that is behind it is told from one that is not.

Bounded: what was longest not asked for is forgotten, and what is not known is read from the primary.
"""

from collections.abc import Iterable
from typing import Final

from protocol.ids import MatchId, Seq, UserId

MATCHES_KEPT: Final = 100_000
USERS_KEPT: Final = 50_000
CHANGES_KEPT: Final = 100


class Known:
    """The newest seq seen of each match; of users whose matches were read, the changes since."""

    __slots__ = ("_changes", "_matches_kept", "_seqs", "_users_kept")

    def __init__(self, *, matches: int = MATCHES_KEPT, users: int = USERS_KEPT) -> None:
        self._matches_kept = matches
        self._users_kept = users
        # Dictionaries keep the order of insertion: what is used goes to the end, what is old is at the beginning.
        self._seqs: dict[MatchId, Seq] = {}
        self._changes: dict[UserId, dict[MatchId, Seq]] = {}

    def saw(self, match: MatchId, seq: Seq) -> None:
        """Learn that `match` has an entry with `seq`."""
        known = self._seqs.pop(match, None)
        self._seqs[match] = seq if known is None or known < seq else known
        if len(self._seqs) > self._matches_kept:
            del self._seqs[next(iter(self._seqs))]

    def forget(self) -> None:
        """Know nothing any more."""
        self._seqs.clear()
        self._changes.clear()

    def seq(self, match: MatchId) -> Seq | None:
        """Tell the newest seq seen of `match`; None when it is not known."""
        return self._seqs.get(match)

    def read_matches_of(self, user: UserId) -> None:
        """Learn that the matches of `user` were read from the primary."""
        self._changes.pop(user, None)
        self._changes[user] = {}
        if len(self._changes) > self._users_kept:
            del self._changes[next(iter(self._changes))]

    def changed(self, match: MatchId, seq: Seq, users: Iterable[UserId]) -> None:
        """Learn that these users came to `match` or left it with the entry `seq`."""
        self.saw(match, seq)
        for user in users:
            changes = self._changes.get(user)
            if changes is None:
                continue
            changes[match] = max(seq, changes.get(match, seq))
            if len(changes) > CHANGES_KEPT:
                del self._changes[user]

    def changes_of(self, user: UserId) -> dict[MatchId, Seq] | None:
        """Tell the changes since the matches of `user` were read; None when they were not."""
        return self._changes.get(user)
