"""What comes to one device: shown in the order of the log, and judged by how it came.

On one connection each entry should come once, in its turn, soon, and without being asked for. One that does not is
repaired by the rules of docs/protocol.md and never shown wrong; it is counted here by what was wrong with it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from loadtest.evidence import Held, mark
from loadtest.scene import Arrival, Scene, User
from protocol.from_server import Entry, SyncedMatch
from protocol.ids import MatchId
from protocol.limits import SYNC_DELAY_MS

# Just after it came back an entry may come twice to a device: once because it was missed, once live.
_REPEAT_GRACE_US: Final = 5_000_000


class Inbox:
    """All matches of a device. `ask` is called with the matches to `sync`; their pages come back to `page`."""

    __slots__ = ("_ask", "_repeats_until_us", "_scene", "_user", "counts_from_us", "held", "unread", "welcomed_us")

    def __init__(self, scene: Scene, user: User, ask: Callable[[Sequence[Held]], None]) -> None:
        self._scene = scene
        self._user = user
        self._ask = ask
        self.held = {match: Held(match, number) for match, number in user.matches.items()}
        self.unread: dict[MatchId, int] = {}
        # What there is to tell in receipts: how far each match has come.
        self.welcomed_us = 0
        self._repeats_until_us = 0
        self.counts_from_us = 0
        # What was due before is not timed: the device was away on purpose then.

    def welcomed(self, now_us: int, *, was_away: bool) -> None:
        """Begin on a new connection."""
        if self.welcomed_us:
            self._repeats_until_us = now_us + _REPEAT_GRACE_US
        self.welcomed_us = now_us
        if was_away or not self.counts_from_us:
            self.counts_from_us = now_us
        for held in self.held.values():
            held.newest_seen, held.is_asking = held.last, False

    @property
    def not_pushed(self) -> int:
        """How many entries came only because they were asked for."""
        return sum(len(held.fetched) for held in self.held.values())

    def read_all(self) -> None:
        """Have all that is shown told as read, as by somebody who looks again."""
        if self._scene.is_following_receipts:
            self.unread |= {held.match: held.last for held in self.held.values() if held.last > held.first}

    def pushed(self, arrival: Arrival) -> None:
        """Take a pushed message."""
        held = self.held.get(arrival.match)
        if held is None:
            self._scene.meters.count("strangers")
            return
        self._scene.meters.count("delivered")
        if self._take(held, arrival.seq, arrival.mark, arrival.created_at, is_pushed=True):
            if arrival.due_us:
                self._time(arrival)
            if self._scene.is_following_receipts:
                self.unread[arrival.match] = arrival.seq

    def entry(self, entry: Entry, *, is_pushed: bool) -> None:
        """Take an entry of any kind, pushed or read by `sync`."""
        held = self.held.get(entry.match)
        if held is None:
            self._scene.meters.count("strangers")
        else:
            self._take(held, entry.seq, mark(entry), entry.created_at, is_pushed=is_pushed)

    def own(self, match: MatchId, seq: int, created_at: int, number: int) -> None:
        """Take the answer to an own message, which is its entry for the device that sent it."""
        self._take(self.held[match], seq, -1 - number, created_at, is_pushed=True)

    def page(self, match: MatchId, page: SyncedMatch) -> None:
        """Take what `sync` brought."""
        held = self.held[match]
        held.is_asking = False
        if page.reset:
            self.reset(match)
            return
        for entry in page.entries:
            self.entry(entry, is_pushed=False)
        if not page.complete:
            self.ask_for([held])
        else:
            held.is_told = False

    def gap(self, match: MatchId) -> None:
        """Ask for what the server says that it does not push."""
        self.held[match].is_told = True
        self.ask_for([self.held[match]])

    def reset(self, match: MatchId) -> None:
        """Drop what is held of a match, as the server says that its log is another one now."""
        self._scene.meters.count("resets")
        self.held[match].reset()
        self.gap(match)

    def ask_for(self, matches: Sequence[Held]) -> None:
        """Ask for what came after the cursors of those that are not being asked for."""
        wanted = [held for held in matches if not held.is_asking]
        for held in wanted:
            held.is_asking = True
        if wanted:
            self._ask(wanted)

    def _take(self, held: Held, seq: int, entry_mark: int, created_at: int, *, is_pushed: bool) -> bool:
        """Show an entry in its turn; return whether it was new. Answers may overtake what another node has yet to push."""
        is_own = entry_mark < 0
        if seq <= held.last or seq in held.early:
            self._again(held, seq, entry_mark, is_pushed=is_pushed)
            return False
        if not is_pushed and not held.is_told:
            held.fetched.add(seq)
        if seq == held.last + 1:
            if is_pushed and not is_own and seq < held.newest_seen:
                self._scene.meters.count("pushed out of order")
            held.show(seq, entry_mark, created_at)
        else:
            held.early[seq] = (entry_mark, created_at)
            asyncio.get_running_loop().call_later(SYNC_DELAY_MS / 1000, self._ask_if_behind, held, seq)
        if is_pushed and not is_own and seq > held.newest_seen:
            held.newest_seen = seq
        return True

    def _again(self, held: Held, seq: int, entry_mark: int, *, is_pushed: bool) -> None:
        """Judge an entry that is here already. One that was asked for may have been on its way."""
        if not is_pushed:
            return
        if seq in held.fetched:
            held.fetched.remove(seq)
        # The answer to a message that was sent again is no news either.
        elif entry_mark >= 0 and self._scene.now_us() > self._repeats_until_us:
            self._scene.meters.count("pushed twice")

    def _ask_if_behind(self, held: Held, seq: int) -> None:
        if held.last < seq:
            self.ask_for([held])

    def _time(self, arrival: Arrival) -> None:
        if arrival.due_us < self.counts_from_us:
            self._scene.meters.count("caught up")
            return
        took_us = self._scene.now_us() - arrival.due_us
        self._scene.meters.time("delivery", took_us)
        if took_us > self._scene.late_after_us:
            self._scene.meters.count("late")
