"""What happens when, drawn ahead and never waiting for an answer: an open loop.

A closed loop sends less while the server is slow, and so leaves out just those who would have had to wait (coordinated
omission). Here each message has its moment before anything is sent, and its latency counts from that moment.
Pure: the caller brings `now_us`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Final

from loadtest.clock import Chance
from loadtest.learn import Line
from loadtest.profile import Profile, whole

_S: Final = 1_000_000
# Exchanges that began so long before the start are under way when it begins, so that the rate is right from the first second.
_LEAD_S: Final = 2500.0


@dataclass(slots=True)
class Say:
    """Send `length` characters of the text `key` into match number `match`; `writer` is a place in its list of writers."""

    due_us: int
    match: int
    writer: int
    key: int
    length: int
    is_typing: bool = False
    # True: begin to type it; the same wish comes again to be sent.
    talk: "Iterator[Say] | None" = None


class Arrivals:
    """A Poisson stream: moments that know nothing of each other, `rate_per_s` of them on average."""

    def __init__(self, chance: Chance, rate_per_s: float, start_us: int) -> None:
        self._chance = chance
        self._rate_per_s = rate_per_s
        self._start(start_us)

    def _start(self, now_us: int) -> None:
        self.next_us: float = float("inf") if self._rate_per_s <= 0 else now_us + self._gap_us()

    def pace(self, rate_per_s: float, now_us: int) -> None:
        """Go on at another rate from now on."""
        self._rate_per_s = rate_per_s
        self._start(now_us)

    def due(self, until_us: int) -> Iterator[int]:
        """Yield the moments up to `until_us` that were not yet yielded."""
        while self.next_us <= until_us:
            yield self.take()

    def take(self) -> int:
        """Return the next moment, and go on to the one after it."""
        moment_us = int(self.next_us)
        self.next_us += self._gap_us()
        return moment_us

    def _gap_us(self) -> float:
        return self._chance.expovariate(self._rate_per_s) * _S


class Talk:
    """The messages of a crowd: exchanges between two writers of a match begin as a Poisson stream and go their way."""

    def __init__(
        self, profile: Profile, chance: Chance, writers: Sequence[int], *, haste: float, is_talk: bool, is_typing: bool
    ) -> None:
        """`writers` has the number of writers of each match."""
        self._profile = profile
        self._chance = chance
        self._writers = writers
        self._haste = haste
        self._is_talk = is_talk
        self._is_typing = is_typing
        self._keys = count()
        self._order = count()
        self._heap: list[tuple[int, int, Say]] = []
        self._begins: Arrivals | None = None

    def start(self, rate_per_s: float, now_us: int) -> None:
        """Begin at `now_us` with `rate_per_s` messages a second, as if it had always gone on."""
        lead_us = int(_LEAD_S / self._haste * _S) if self._is_talk else 0
        self._begins = Arrivals(self._chance, self._begin_rate(rate_per_s), now_us - lead_us)
        for begin_us in self._begins.due(now_us):
            self._go_on(self._talk(begin_us), now_us)

    def pace(self, rate_per_s: float, now_us: int) -> None:
        """Have another rate from now on; exchanges that are under way end as they would have."""
        if self._begins is not None:
            self._begins.pace(self._begin_rate(rate_per_s), now_us)

    def stop(self) -> None:
        """Say nothing more."""
        self._begins = None
        self._heap.clear()

    @property
    def next_us(self) -> float:
        """When something is due next."""
        begins_us = float("inf") if self._begins is None else self._begins.next_us
        return min(begins_us, self._heap[0][0]) if self._heap else begins_us

    def due(self, until_us: int) -> Iterator[Say]:
        """Yield what is due up to `until_us`, in order."""
        while self.next_us <= until_us:
            if self._begins is not None and (not self._heap or self._begins.next_us <= self._heap[0][0]):
                begin_us = self._begins.take()
                self._go_on(self._talk(begin_us), begin_us)
                continue
            _, _, say = heappop(self._heap)
            yield say
            if say.is_typing:
                self._push(replace(say, due_us=say.due_us + self._typing_us(say.length), is_typing=False))
            elif say.talk is not None:
                self._go_on(say.talk, say.due_us)

    def _go_on(self, talk: Iterator[Say], now_us: int) -> None:
        """Put the next message of an exchange into the heap: the first that is not over already."""
        for say in talk:
            if say.due_us >= now_us:
                say.talk = talk
                typing_us = say.due_us - self._typing_us(say.length)
                # Who would have begun before the last one was said, or before the talk began, types nothing.
                types = self._is_typing and typing_us >= now_us
                self._push(replace(say, due_us=typing_us, is_typing=True) if types else say)
                return

    def _push(self, say: Say) -> None:
        heappush(self._heap, (say.due_us, next(self._order), say))

    def _typing_us(self, length: int) -> int:
        return int(min(length / self._profile.typing_per_s, self._profile.typing_max_s) / self._haste * _S)

    def _begin_rate(self, rate_per_s: float) -> float:
        return rate_per_s / (self._profile.messages_an_exchange if self._is_talk else 1.0)

    def _talk(self, begin_us: int) -> Iterator[Say]:
        """Yield the messages of one exchange."""
        match = int(self._chance.random() * len(self._writers))
        first = int(self._chance.random() * self._writers[match])
        if not self._is_talk:
            yield self._say(begin_us, match, first)
            return
        second = (first + 1 + int(self._chance.random() * (self._writers[match] - 1))) % self._writers[match]
        at_us: float = begin_us
        for turn in range(whole(self._profile.turns_an_exchange, self._chance)):
            for place in range(whole(self._profile.messages_a_turn, self._chance)):
                at_us += self._profile.within_turn_s.draw(self._chance) / self._haste * _S if place else 0
                yield self._say(int(at_us), match, (first, second)[turn % 2])
            at_us += self._profile.between_turns_s.draw(self._chance) / self._haste * _S

    def _say(self, at_us: int, match: int, writer: int) -> Say:
        return Say(at_us, match, writer, next(self._keys), whole(self._profile.length_chars, self._chance))


class Replay:
    """A chat log said again in match 0 of one worker's view: the lines whose writers are here, at their times over `haste`."""

    def __init__(self, lines: Sequence[Line], writers: Sequence[int | None], haste: float) -> None:
        """`writers` has for each line the place of its writer, None when that one is in another process."""
        self._lines = [
            (line.at_s - lines[0].at_s, writer, key, len(line.text))
            for key, (line, writer) in enumerate(zip(lines, writers, strict=True))
            if writer is not None
        ]
        self._haste = haste
        self._next = len(self._lines)
        self._start_us = 0

    def start(self, rate_per_s: float, now_us: int) -> None:
        """Begin at `now_us`; the log has its own rate."""
        del rate_per_s
        self._start_us, self._next = now_us, 0

    def pace(self, rate_per_s: float, now_us: int) -> None:
        """Change nothing."""

    def stop(self) -> None:
        """Say nothing more."""
        self._next = len(self._lines)

    @property
    def next_us(self) -> float:
        """When the next line is due."""
        if self._next == len(self._lines):
            return float("inf")
        return self._start_us + self._lines[self._next][0] / self._haste * _S

    def due(self, until_us: int) -> Iterator[Say]:
        """Yield the lines up to `until_us`, in order."""
        while self.next_us <= until_us:
            due_us = int(self.next_us)
            _, writer, key, length = self._lines[self._next]
            self._next += 1
            yield Say(due_us, 0, writer, key, length)
