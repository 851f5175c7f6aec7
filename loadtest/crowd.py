"""The people whom one process plays: builds them from a job, lets them come, and does what is due when it is due.

One loop does everything that has a moment (messages, typing, lives of devices); nothing that it does waits for an answer.
How late it was is the load tester's own `lag`: when that is large the figures are not the server's.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import cycle, islice
from typing import Final

from loadtest.clock import Chance
from loadtest.device import Device
from loadtest.jobs import Job
from loadtest.learn import read_log
from loadtest.scene import Scene, User
from loadtest.schedule import Arrivals, Replay, Say, Talk
from loadtest.tls import trust
from protocol.from_server import Presence
from protocol.ids import MatchId, UserId

FILLER: Final = (
    "well I think so, but did you try it the other way round? yes, it worked once or twice and then it did not any more. "
    "thanks, I will have a look at that tomorrow and tell you. ok see you then :-) café naïve привет 你好 👍 "
) * 30
WATCHED_MAX: Final = 20
_TICK_S: Final = 0.05
_EARLY_US: Final = 1_000
# The loop's timers count whole milliseconds; what wakes half of one early does not go to sleep again.
_BATCH: Final = 100
_RECEIPT_SLICES: Final = 20
# Each device tells its receipts once in so many ticks.
_AUDITED_A_TICK: Final = 200


class Crowd:
    """Users, their devices, and what is due."""

    def __init__(self, job: Job, spawn: Callable[[Coroutine[object, object, None]], object]) -> None:
        self.job = job
        chance = Chance(f"{job.seed}/{job.number}")
        scenario = job.scenario
        late_us = int(scenario.promises.late_after_s * 1e6)
        self.scene = Scene(job.run, job.url, chance, self._texts(), spawn, late_us, scenario.chat.receipts)
        self.scene.call_s = scenario.life.call_s
        self.scene.ring_spare_s = scenario.promises.ring_grace_s
        self.scene.picks_up = scenario.media is None
        self.scene.tls = trust(job.url, job.authority)
        self.users, self.devices = self._people()
        self.every = [device for devices in self.devices.values() for device in devices]
        self._by_user = {user.name: user for user in self.users.values()}
        self.talk = self._talk()
        self._life: list[tuple[Arrivals, Callable[[Device], None]]] = []
        self._wrong_presence: dict[tuple[str, str, int], str] = {}
        self._ticks = 0

    # ---- who there is

    def _people(self) -> tuple[dict[int, User], dict[int, list[Device]]]:
        rooms: dict[int, dict[MatchId, int]] = {person.index: {} for person in self.job.people}
        partners: dict[int, set[UserId]] = {person.index: set() for person in self.job.people}
        for room in self.job.rooms:
            for index in room.local:
                rooms[index][MatchId(room.match)] = len(rooms[index])
                if self.job.scenario.people.watch and len(partners[index]) <= WATCHED_MAX:
                    partners[index].update(map(UserId, room.members[: WATCHED_MAX + 1]))
        users, devices = {}, {}
        for person in self.job.people:
            watched = sorted(partners[person.index] - {UserId(person.user)})[:WATCHED_MAX]
            user = users[person.index] = User(person.user, person.token, rooms[person.index], tuple(watched))
            is_hidden = self.scene.chance.random() < self.job.scenario.people.hidden_share
            # Ten devices a user at most, so that each has a number of its own.
            devices[person.index] = [
                Device(self.scene, user, person.index * 10 + number, f"d{number}" if number else "")
                for number in range(person.devices)
            ]
            for device in devices[person.index]:
                device.is_hidden = is_hidden
        return users, devices

    def _talk(self) -> Talk | Replay:
        chat, rooms = self.job.scenario.chat, self.job.rooms
        if self.job.log:
            place = {nick: number for number, nicks in enumerate(self.job.nicks) for nick in nicks}
            lines = read_log(self.job.log)
            speakers = list(dict.fromkeys(line.nick for line in lines))
            here = {nick: place.get(nick) for nick in speakers}
            return Replay(lines, [here[line.nick] for line in lines], chat.haste)
        writers = [len(room.local) for room in rooms]
        is_talk = chat.is_talk and min(writers, default=0) > 1
        return Talk(
            self.job.profile, self.scene.chance, writers, haste=chat.haste, is_talk=is_talk, is_typing=chat.typing
        )

    def _texts(self) -> Callable[[int, int], str]:
        if self.job.log:
            lines = read_log(self.job.log)
            return lambda key, _: lines[key].text[:4000]
        return lambda key, length: FILLER[key % 211 :][:length]

    @property
    def connected(self) -> int:
        """How many devices have a welcome."""
        return sum(device.is_ready for device in self.every)

    # ---- coming

    async def connect(self, within_s: float) -> None:
        """Let everybody come at the scenario's rate, whatever the server makes of it; wait until they are or time is over."""
        per_s = self.job.scenario.people.connects_per_s * self.job.share
        began_us = self.scene.now_us()
        for number, device in enumerate(self.every):
            ahead_s = number / per_s - (self.scene.now_us() - began_us) / 1e6
            if ahead_s > 0.002:
                await asyncio.sleep(ahead_s)
            self.scene.spawn(device.come())
        # A load tester, not a test: asking ten times a second keeps an event out of every welcome.
        until_us = self.scene.now_us() + within_s * 1e6
        while self.connected < len(self.every) and self.scene.now_us() < until_us:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    # ---- doing

    def begin(self, at_us: int) -> None:
        """Have everything due from `at_us` on."""
        life, chance = self.job.scenario.life, self.scene.chance
        self.talk.start(self.job.rate_per_s * self.job.share, at_us)
        devices = len(self.every)
        deeds: list[tuple[float, Callable[[Device], None]]] = [
            (life.flaps_per_min, lambda device: device.leave(life.flap_s * chance.random())),
            (life.drops_per_min, lambda device: device.drop(life.drop_s * chance.random())),
            (life.pauses_per_min, lambda device: self._pause(device, life.pause_s * chance.random())),
            (life.hides_per_min, lambda device: self._hide(device, life.hide_s * chance.random())),
            (life.history_per_min, lambda device: device.read_back(chance.random())),
            (life.calls_per_min, lambda device: device.call(chance.random())),
        ]
        self._life = [(Arrivals(chance, rate * devices / 60, at_us), deed) for rate, deed in deeds if rate]

    async def run(self) -> None:
        """Do what is due until `finish`."""
        scene = self.scene
        tick_us = scene.now_us()
        while not scene.is_over:
            now_us = scene.now_us()
            if now_us >= tick_us:
                scene.meters.time("lag", now_us - tick_us)
                self._tick()
                tick_us = max(tick_us + int(_TICK_S * 1e6), now_us)
            done = self._do_due(now_us + _EARLY_US)
            next_us = min(tick_us, self.talk.next_us, *(arrivals.next_us for arrivals, _ in self._life))
            wait_us = next_us - scene.now_us()
            await asyncio.sleep(0 if done == _BATCH or wait_us < _EARLY_US else wait_us / 1e6)

    def finish(self) -> None:
        """Have nothing new happen; devices that are away come back by themselves."""
        self.scene.is_over = True
        self.talk.stop()
        for device in self.every:
            device.caller.hang_up()

    def deal(self, what: str, share: float) -> None:
        """Do something to a share of all connections at once."""
        for device in self.every:
            if self.scene.chance.random() < share:
                if what == "cut":
                    device.cut()
                else:
                    device.leave(1.0 * self.scene.chance.random())

    def _do_due(self, until_us: int) -> int:
        """Do what is due, up to a batch, so that sockets are read in between; return how much that was."""
        done = 0
        for say in islice(self.talk.due(until_us), _BATCH):
            self._do(say)
            done += 1
        for arrivals, deed in self._life:
            for _ in islice(arrivals.due(until_us), _BATCH):
                deed(self.scene.chance.choice(self.every))
        return done

    def _do(self, say: Say) -> None:
        room = self.job.rooms[say.match]
        user_index = room.local[say.writer]
        device = self._writing(self.devices[user_index])
        if device is None:
            self.scene.meters.count("kept to themselves")
            return
        now_us = self.scene.now_us()
        if say.is_typing:
            device.typing(MatchId(room.match), on=True)
            return
        self.scene.meters.time("lag", now_us - say.due_us)
        device.say(MatchId(room.match), min(say.due_us, now_us), say.key, say.length)

    def _writing(self, devices: Sequence[Device]) -> Device | None:
        """Return the device that its user writes on; None while they are away on purpose. One that was cut is written on."""
        here = [device for device in devices if not device.away]
        return self.scene.chance.choice(here) if here else None

    def _pause(self, device: Device, seconds: float) -> None:
        # The end of a pause within another would bring back a device that has left meanwhile, and comes back by itself.
        if device.pause():
            asyncio.get_running_loop().call_later(seconds, device.resume)

    def _hide(self, device: Device, seconds: float) -> None:
        if not device.is_hidden:
            device.hide()
            asyncio.get_running_loop().call_later(seconds, device.show)

    # ---- twenty times a second

    def _tick(self) -> None:
        self._ticks += 1
        for device in self.every[self._ticks % _RECEIPT_SLICES :: _RECEIPT_SLICES]:
            device.flush_receipts()
        if self.job.scenario.people.watch:
            self._audit(islice(_picked(self.scene.chance, self.every), _AUDITED_A_TICK))

    def audit_all(self) -> list[str]:
        """Compare all that is shown of presence with the truth; return in words what was found wrong since the beginning."""
        self._audit(self.every)
        return list(self._wrong_presence.values())

    def _audit(self, devices: "Iterator[Device] | Sequence[Device]") -> None:
        now_us, grace_us = self.scene.now_us(), int(self.job.scenario.promises.presence_grace_s * 1e6)
        for device in devices:
            # To one that nobody looks at the server tells no presence.
            if not device.is_ready or device.away or device.is_hidden or now_us - device.looked_us < grace_us:
                continue
            for partner in device.user.partners:
                shown, truth = device.sees.get(partner), self._by_user.get(partner)
                if shown is None or truth is None or shown.status == "unknown":
                    continue
                is_online = truth.connected > 0
                bound_us = (
                    0 if is_online else self.scene.silence_bound_us if truth.silent else self.scene.presence_bound_us
                )
                is_due = now_us - truth.changed_us > bound_us + grace_us
                if is_due and (shown.status != "offline") != is_online:
                    self._found_wrong(device, shown, truth, now_us)

    def _found_wrong(self, device: Device, shown: Presence, truth: User, now_us: int) -> None:
        """Note what a device shows although it has long been otherwise; once for each change."""
        is_, since_s = ("online" if truth.connected else "offline"), (now_us - truth.changed_us) / 1e6
        said = f"{device.user.name}/{device.name} saw {truth.name} {shown.status}, {is_} for {since_s:.1f} s"
        self._wrong_presence.setdefault((f"{device.user.name}/{device.name}", truth.name, truth.changed_us), said)


def _picked(chance: Chance, devices: Sequence[Device]) -> Iterator[Device]:
    """Go through the devices from a place of chance."""
    start = int(chance.random() * len(devices))
    return islice(cycle(devices), start, start + len(devices))
