"""Random races of calls on three nodes in one process, over the memory bus and one store; each leaves one outcome.

    python -m tests.support.call_races --races 10000 [--seed N]

An episode runs many races at once: people with several devices call, answer, refuse, hang up, lose sockets and come back,
all without waiting for each other; the store answers late; in some episodes a node loses frames of the others, which its
bus notices, or is killed with whatever it was doing. Then time passes, and everything must be over: one last word on every
call, the same for everybody; no device rings; no device believes to be in a call; no user got two seats.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from secrets import randbits
from typing import Final, TypeVar

from msgspec import Struct
from typing_extensions import override

from protocol.calls import CallEntry, CallId, CallOutcome
from protocol.from_server import Presence
from protocol.ids import MatchId, Micros, UserId
from server.core.calls import CallChange, CallChanged, CallStale, CallView
from server.core.latest import Key
from server.core.log import EntryPage
from server.core.notices import Notice
from server.relay import Relay
from tests.support.callers import items
from tests.support.clock import FakeClock
from tests.support.route_log import RoutedStore
from tests.support.switchboard import Client, Json, Switchboard, lanes_of

NODES: Final = 3
RACES_AT_ONCE: Final = 40
STEPS: Final = 9
# Longer than it takes to miss a dead node (30 s and a look), and then to give up its seats (30 s).
OVER_AFTER_S: Final = 150
STEP_S: Final = 5
OPEN: Final = frozenset({CallOutcome.RINGING, CallOutcome.ONGOING})
A = TypeVar("A")


class LateStore(RoutedStore):
    """A store whose answers come when others have been asked meanwhile, before or after it did what it was asked."""

    def __init__(self, clock: FakeClock, random: Random) -> None:
        super().__init__(clock)
        self._random = random

    async def _late(self, answer: Callable[[], Awaitable[A]]) -> A:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        found = await answer()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        return found

    @override
    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        view = super().call_view
        return await self._late(lambda: view(call=call, match=match, caller=caller, since_us=since_us))

    @override
    async def change_call_routed(self, change: CallChange, node: str) -> tuple[CallChanged | CallStale, Sequence[int]]:
        write = super().change_call_routed
        return await self._late(lambda: write(change, node))


class LossyEars:
    """What a node hears of the others; while it is losing, only some of it. A bus notices that, and `heal` says so."""

    def __init__(self, relay: Relay, random: Random) -> None:
        self._relay = relay
        self._random = random
        self.is_losing = False
        self.lost = 0

    def _loses(self) -> bool:
        loses = self.is_losing and self._random.random() < 0.5
        self.lost += loses
        return loses

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        if not self._loses():
            self._relay.deliver(users, frame, key)

    def notice(self, notice: Notice) -> None:
        if not self._loses():
            self._relay.notice(notice)

    def presence(self, changes: Sequence[Presence]) -> None:
        self._relay.presence(changes)

    def repair(self, since: float) -> None:
        self._relay.repair(since)

    def routed(self, route_ids: Sequence[int]) -> None:
        self._relay.routed(route_ids)

    def bus_is(self, *, alive: bool) -> None:
        self._relay.bus_is(alive=alive)


class Device:
    """One device, which believes what it hears."""

    def __init__(self, user: str, client: Client) -> None:
        self.user = user
        self.client = client
        self.is_there = True
        self.ringing: dict[object, None] = {}
        self.calls: dict[object, None] = {}
        self.seat: Json | None = None
        # Peers that it was given by start or accept, with their call.
        self.given: list[tuple[object, object]] = []
        self.last_words: dict[object, object] = {}
        self._seqs: dict[object, int] = {}
        # What its welcome told of it need not be told again.
        self._from_seq = max((int(str(match["last_seq"])) for match in items(client.welcome, "matches")), default=0)
        # Calls that it has refused to take, by the request that said so.
        self._declined: dict[object, object] = {}

    def listen(self) -> None:
        """Take in what came."""
        heard, self.client.unheard = self.client.unheard + self.client.line.heard(), []
        for message in heard:
            self._hear(message)

    def _hear(self, message: Json) -> None:
        call = message.get("call")
        match message["type"]:
            case "call.incoming":
                self.ringing[call] = None
                self.calls[call] = None
            case "call.cancelled":
                self.ringing.pop(call, None)
            case "call.ended":
                self.ringing.pop(call, None)
                if self.seat is not None and self.seat["call"] == call:
                    self.seat = None
            case "call.snapshot":
                self.calls[call] = None
            case "call" if int(str(message["seq"])) > self._seqs.get(call, self._from_seq):  # What it has it drops.
                self._seqs[call] = int(str(message["seq"]))
                self.last_words[call] = message["state"]
            case "ok" if message["id"] in self._declined:
                self.ringing.pop(self._declined.pop(message["id"]), None)
            case "ok" if "peer" in message:
                self.ringing.pop(call, None)
                self.seat = message
                self.calls[call] = None
                self.given.append((call, message["peer"]))

    def decline(self, call: object, number: int) -> None:
        """Refuse; other devices are told to stop, this one knows."""
        self._declined[number] = call
        self.client.send(type="call.decline", id=number, call=call)

    def lose(self) -> None:
        """Lose the socket without a word."""
        if self.is_there:
            self.listen()
            self.is_there = False
            self.client.hang_up()


class Race(Struct):
    """Two users of a match, and their devices."""

    match: str
    devices: list[Device]


class Problems(Exception):
    """What is wrong after an episode."""


class Episode:
    """Nodes, and what happens on them."""

    def __init__(self, seed: int, races: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        self.store = LateStore(self.clock, self.random)
        first = Switchboard(routes=self.store, clock=self.clock, name="n0")
        others = [Switchboard(beside=first, name=f"n{number}") for number in range(1, NODES)]
        self.boards = [first, *others]
        self.dead: list[Switchboard] = []
        self.ears = [LossyEars(board.relay, self.random) for board in self.boards]
        for board, ears in zip(self.boards, self.ears, strict=True):
            board.bus.start(ears)
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self.races_count = races
        self.races: list[Race] = []
        self.counts: Counter[str] = Counter()

    @property
    def living(self) -> list[Switchboard]:
        return [board for board in self.boards if board not in self.dead]

    async def run(self) -> Counter[str]:
        """Run it; raise `Problems`."""
        for board in self.boards:
            self._tasks[board.name] = [asyncio.create_task(lane()) for lane in lanes_of(board)]
        try:
            await self._populate()
            await self._compete()
            await self._pass_time()
            await self._check()
        finally:
            for board in self.living:
                await self._stop(board)
        return self.counts

    async def _stop(self, board: Switchboard) -> None:
        tasks = self._tasks[board.name]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _populate(self) -> None:
        for number in range(self.races_count):
            match, alice, bob = f"m{number}", f"a{number}", f"b{number}"
            await self.boards[0].make(match, alice, bob)
            race = Race(match, [])
            for user in (alice, bob, *self.random.choices((alice, bob), k=2)):
                race.devices.append(await self._come(user))
            self.races.append(race)

    async def _come(self, user: str) -> Device:
        board = self.random.choice(self.living)
        return Device(user, await board.enter(user))

    async def _compete(self) -> None:
        losing = self.random.choice([*self.ears, None, None])
        killed_at = self.random.choice([None, None, self.random.randrange(1, STEPS)])
        since = self.clock.now()
        for step in range(STEPS):
            if losing is not None:
                losing.is_losing = True
            if step == killed_at:
                await self._kill(self.random.choice(self.boards))
            for race in self.random.sample(self.races, len(self.races)):
                await self._act(race)
            for _ in range(self.random.randrange(12)):
                await self._tick()
            self.clock.advance(0.1)
        if losing is not None:
            losing.is_losing = False
            self.counts["frames lost"] += losing.lost
            losing.repair(since - 30)
        await self._settle()

    async def _kill(self, board: Switchboard) -> None:
        """End a node in the middle of everything: what it had under way is never told."""
        self.dead.append(board)
        self.counts["nodes killed"] += 1
        board.bus._events = None
        for race in self.races:
            for device in race.devices:
                if device.client.board is board:
                    device.listen()
                    device.is_there = False
        await self._stop(board)

    async def _act(self, race: Race) -> None:
        device = self.random.choice(race.devices)
        device.listen()
        if not device.is_there:
            if self.random.random() < 0.5:
                race.devices[race.devices.index(device)] = again = await self._come(device.user)
                again.given = device.given
                self.counts["came back"] += 1
            return
        call = self.random.choice([*device.calls, None])
        number = self.random.getrandbits(40)
        action = self.random.choice(ACTIONS)
        self.counts[action] += 1
        key = f"k{number}"
        match action:
            case "start":
                device.client.send(type="call.start", id=number, match=race.match, client_id=key, media="audio")
            case "lose":
                device.lose()
            case "resume" if device.seat is not None:
                seat = device.seat
                device.client.send(type="call.resume", id=number, call=seat["call"], peer=seat["peer"])
            case _ if call is None:
                return
            case "accept":
                device.client.send(type="call.accept", id=number, call=call, client_id=key, media="audio")
            case "ring":
                device.client.send(type="call.ringing", call=call)
            case "decline":
                device.decline(call, number)
            case _:
                device.client.send(type="call.hangup", id=number, call=call)
        if self.random.random() < 0.5:
            await self._tick()

    async def _tick(self) -> None:
        await asyncio.sleep(0)
        for board in self.living:
            board.loop.tick()

    async def _settle(self) -> None:
        for _ in range(3):
            for board in self.living:
                await board.settle()

    async def _pass_time(self) -> None:
        for passed in range(0, OVER_AFTER_S, STEP_S):
            self.clock.advance(STEP_S)
            for board in self.living:
                await board.relay.round(passed)
                await board.exchange.rounds.round(STEP_S)
            await self._settle()

    # ---- what must be

    async def _check(self) -> None:
        problems = [problem for race in self.races for problem in await self._problems_of(race)]
        for board in self.living:
            board.exchange.measure(board.telemetry)
            if board.telemetry.call_seats or board.telemetry.call_events_waiting or board.telemetry.internal_errors:
                problems.append(f"{board.name} has not come to rest: {board.telemetry}")
        if problems:
            raise Problems("\n".join(problems))

    async def _problems_of(self, race: Race) -> list[str]:
        words = await self._last_words(race.match)
        problems = [f"{race.match}: {call} is still {word}" for call, word in words.items() if word in OPEN]
        for device in race.devices:
            device.listen()
        problems += self._two_seats(race)
        for device in race.devices:
            if device.is_there:
                problems += [f"{race.match}: {device.user} {problem}" for problem in _beliefs(device, words)]
        return problems

    async def _last_words(self, match: str) -> dict[CallId, CallOutcome]:
        page = await self.store.history(MatchId(match), None, before=None, after=Micros(0), limit=1_000, folded=False)
        assert isinstance(page, EntryPage)
        words: dict[CallId, CallOutcome] = {}
        for entry in page.entries:
            if isinstance(entry, CallEntry):
                before = words.get(entry.call)
                if before is not None and before not in OPEN:
                    raise Problems(f"{match}: {entry.call} was {before} and is {entry.state}")
                words[entry.call] = entry.state
        self.counts.update(f"ended {word.value}" for word in words.values())
        return words

    def _two_seats(self, race: Race) -> list[str]:
        given: dict[tuple[str, object], set[object]] = {}
        for device in race.devices:
            for call, peer in device.given:
                given.setdefault((device.user, call), set()).add(peer)
        return [
            f"{race.match}: {user} has seats {peers} in {call}"
            for (user, call), peers in given.items()
            if peers - {min(map(str, peers))}
        ]


ACTIONS: Final = (
    *("start", "start", "start", "accept", "accept", "accept", "ring", "ring"),
    *("decline", "hang up", "hang up", "lose", "resume"),
)


def _beliefs(device: Device, words: dict[CallId, CallOutcome]) -> list[str]:
    problems = [f"rings for {call}, which is {words.get(CallId(str(call)))}" for call in device.ringing]
    if device.seat is not None:
        problems.append(f"believes to be in {device.seat['call']}")
    wrong = {call: word for call, word in device.last_words.items() if words[CallId(str(call))] != word}
    problems += [f"heard last that {call} was {word}" for call, word in wrong.items()]
    return problems


async def race_many(races: int, seed: int) -> Counter[str]:
    """Run so many races; raise `Problems`, which name the seed of their episode."""
    counts: Counter[str] = Counter()
    done = 0
    while done < races:
        at_once = min(RACES_AT_ONCE, races - done)
        try:
            counts += await Episode(seed + done, at_once).run()
        except Problems as problems:
            raise Problems(f"seed {seed + done}, {at_once} races:\n{problems}") from None
        done += at_once
    return counts


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Random races of calls on three nodes")
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    try:
        counts = asyncio.run(race_many(arguments.races, seed))
    except Problems as problems:
        print(f"FAIL\n{problems}")
        return 1
    print("\n".join(f"{count:>8} {name}" for name, count in sorted(counts.items())))
    print(f"PASS: {arguments.races} races, each with one outcome")
    return 0


if __name__ == "__main__":
    sys.exit(main())
