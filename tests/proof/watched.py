"""P6, between nodes: presence does not lie for long, whatever ends a connection."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from loadtest.client import Client
from protocol.from_server import Presence, PresenceChanged, Status
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node, token
from tests.proof.shared import Shared, shared
from tests.support.gathering import Gathering, Visit
from tests.support.presence_judge import OLDER, TWO_MEANINGS, Bounds, Loss, Stay, Verdict, delays, judge

HERE, THERE = 0, 1
RESTLESS: Final = 6
FAITHFUL: Final = 4  # on the node that dies; half of them come back
KILL_AFTER_S: Final = 8.0
BACK_AFTER_S: Final = 1.0
EMPTY_AFTER_S: Final = 22.0
DISTURBED_S: Final = 10.0
SILENT_S: Final = 39.0
WITHIN_S: Final = 20.0
# What we allow on top of a promise on a busy machine.
LATE_S: Final = 1.0
PROMISED_S: Final[Mapping[Loss, float]] = {
    Loss.GOODBYE: 0.0,
    Loss.CLOSE: 2.0,  # the debounce of 1.5 s, and until somebody looks again
    Loss.KILL: 12.0,
    Loss.SILENCE: 37.0,
}
BOUNDS: Final = Bounds(
    come_s=LATE_S,
    gone_s={loss: promised_s + LATE_S for loss, promised_s in PROMISED_S.items()},
    # A killed node's lease is at most two seconds old.
    grace_s={Loss.CLOSE: 1.5 - LATE_S, Loss.KILL: 8.0 - LATE_S},
    unknown_s=LATE_S,
)


async def run(ground: Ground) -> list[Check]:
    """Let people come and go on two nodes; kill one, empty Redis, freeze it."""
    with shared(ground) as place:
        nodes = [await place.node(**UNLIMITED), await place.node(**UNLIMITED)]
        gathering = Gathering(lambda number: nodes[number].url, token)
        scene = _Scene(ground, place, nodes, gathering)
        await scene.make()
        try:
            await scene.play()
            checks = [*scene.weigh(), await scene.nobody_else(), *await scene.away()]
        finally:
            await gathering.end()
        for node in nodes:
            await node.stop()
        faults = sum(node.tracebacks for node in nodes)
    return [*checks, Check(f"{faults} faults in the nodes' logs", faults == 0)]


class _Scene:
    def __init__(self, ground: Ground, place: Shared, nodes: list[Node], gathering: Gathering) -> None:
        self._ground = ground
        self._place = place
        self._nodes = nodes
        self._gathering = gathering
        self._began_s = gathering.now_s()
        self._restless = [f"restless-{number}" for number in range(RESTLESS)]
        self._faithful = [f"faithful-{number}" for number in range(FAITHFUL)]
        # Each of them leaves once, in that way, and for good.
        self._leavers = {"polite": Loss.GOODBYE, "torn": Loss.CLOSE}
        self._watched = [*self._restless, *self._faithful, *self._leavers, "silent"]
        self._killed_us = 0
        self._is_there = True
        gathering.loss = lambda node: Loss.KILL if node == THERE and not self._is_there else Loss.CLOSE

    async def make(self) -> None:
        """Make the matches: two who watch everybody, and strangers."""
        api = self._nodes[HERE].api()
        for watcher in ("watcher-here", "watcher-there"):
            for user in self._watched:
                await api.put_match(f"{watcher} and {user}", [watcher, user])
        await api.put_match("strangers", ["stranger", "another"])
        api.close()

    async def play(self) -> None:
        """Everything at its time, at once."""
        gathering, chance = self._gathering, self._ground.chance
        self._began_s = gathering.now_s()
        await gathering.watch("here", "watcher-here", HERE, self._watched)
        await gathering.watch("there", "watcher-there", THERE, self._watched)
        silent = await gathering.arrive("silent", HERE)
        faithful = [await gathering.arrive(user, THERE) for user in self._faithful]
        leavers = [await gathering.arrive(user, HERE) for user in self._leavers]
        await asyncio.sleep(BOUNDS.come_s)
        await gathering.leave(silent, Loss.SILENCE)
        for visit in leavers:
            await gathering.leave(visit, self._leavers[visit.stay.user])
        async with asyncio.TaskGroup() as group:
            for user in self._restless:
                group.create_task(gathering.live(user, self._somewhere, chance, self._began_s + SILENT_S))
            group.create_task(self._kill(faithful))
            group.create_task(self._empty())
        await asyncio.sleep(max(0.0, self._began_s + SILENT_S + 2 * LATE_S - gathering.now_s()))

    def _somewhere(self) -> int:
        return self._ground.chance.choice((HERE, THERE)) if self._is_there else HERE

    async def _kill(self, faithful: list[Visit]) -> None:
        """Kill -9 of a node; of its people half come back through the other one. Later it is there again."""
        await self._at(KILL_AFTER_S, "kill -9 of a node, and its people are gone with it")
        self._is_there = False
        await self._nodes[THERE].kill()
        await asyncio.sleep(BACK_AFTER_S)
        for visit in faithful[: FAITHFUL // 2]:
            await self._gathering.arrive(visit.stay.user, HERE)
        await self._at(KILL_AFTER_S + PROMISED_S[Loss.KILL] + LATE_S, "the node is started again")
        await self._nodes[THERE].start()
        self._is_there = True
        await self._gathering.watch("there again", "watcher-there", THERE, self._watched)

    async def _empty(self) -> None:
        """Redis forgets everything: for a while nobody can know, and then everybody does again."""
        await self._at(EMPTY_AFTER_S, "Redis is emptied, and somebody has fallen silent")
        now_s = self._gathering.now_s()
        await asyncio.to_thread(self._place.redis.say, "FLUSHALL")
        span = (now_s, now_s + DISTURBED_S)
        for stay in self._gathering.stays:
            stay.lingers.append(span)
        self._disturbed = span

    async def _at(self, after_s: float, what: str) -> None:
        await asyncio.sleep(max(0.0, self._began_s + after_s - self._gathering.now_s()))
        self._ground.tell(what)

    # ---- what was seen

    def weigh(self) -> list[Check]:
        """Judge every moment."""
        gathering = self._gathering
        for stay in gathering.stays:
            stay.uncertain.append(self._disturbed)
        for view in gathering.views:
            view.blind.append(self._disturbed)
        verdict = judge(gathering.stays, gathering.views, BOUNDS, gathering.now_s())
        took = delays(gathering.stays, gathering.views)
        return [
            _came(took[None]),
            *(_left(loss, took[loss]) for loss in PROMISED_S),
            *_judged(verdict, gathering.stays),
        ]

    async def nobody_else(self) -> Check:
        """A stranger asks for everybody, and is told of nobody."""
        stranger = await self._nodes[HERE].arrive("stranger")
        answered = (await stranger.watch(*self._watched)).presence
        visit = await self._gathering.arrive(self._restless[0], HERE)
        await self._gathering.leave(visit, Loss.GOODBYE)
        await stranger.ping()
        heard = [push for _, push in stranger.pushes if isinstance(push, PresenceChanged)]
        await stranger.close()
        shown = len(answered) + len(heard)
        return Check(f"a stranger who watches all of them is told {shown} times", shown == 0)

    async def away(self) -> list[Check]:
        """While nobody can know, nobody says they do."""
        self._ground.tell("Redis stands still")
        watcher = await self._nodes[HERE].arrive("watcher-here")
        self._place.redis.freeze()
        try:
            meanwhile = await _ask_until(watcher, "silent", lambda it: it.status is Status.UNKNOWN)
        finally:
            self._place.redis.thaw()
        after = await _ask_until(watcher, "silent", lambda it: it.status is not Status.UNKNOWN)
        await watcher.close()
        return [
            Check(f"while Redis stands still, who is asked for is {meanwhile.status.value}", meanwhile.v == 0),
            Check(f"when it goes on, {after.status.value} again", after.status is Status.OFFLINE),
        ]


def _came(took_s: list[float]) -> Check:
    slowest_s = max(took_s, default=0.0)
    return Check(f"{len(took_s)} times somebody came: shown after {slowest_s:.2f} s at most", 0 < slowest_s <= LATE_S)


def _left(loss: Loss, took_s: list[float]) -> Check:
    words = {
        Loss.GOODBYE: "said goodbye",
        Loss.CLOSE: "lost the socket",
        Loss.KILL: "was on the killed node and stayed away",
        Loss.SILENCE: "fell silent",
    }
    slowest_s = max(took_s, default=-1.0)
    promised_s = PROMISED_S[loss]
    return Check(
        f"{len(took_s)} times somebody {words[loss]}: shown as gone after {slowest_s:.2f} s at most, promised "
        f"{'at once' if not promised_s else f'within {promised_s:g} s'}",
        bool(took_s) and slowest_s <= promised_s + LATE_S,
    )


def _judged(verdict: Verdict, stays: list[Stay]) -> list[Check]:
    turned = [wrong for wrong in verdict.wrong if wrong.what in (OLDER, TWO_MEANINGS)]
    lies = [wrong for wrong in verdict.wrong if wrong not in turned]
    named = "".join(f"; {wrong}" for wrong in [*lies, *turned][:5])
    return [
        Check(
            f"every moment judged, {verdict.judged_s:,.0f} s of one watcher and one user each, "
            f"{len(stays)} connections: {len(lies)} times somebody was shown wrong beyond a bound{named}",
            not lies and verdict.judged_s > 0,
        ),
        Check(f"in {verdict.told:,} states told {len(turned)} were older than what was told before", not turned),
    ]


async def _ask_until(watcher: Client, user: str, holds: Callable[[Presence], bool]) -> Presence:
    """Ask again until it holds, or for as long as that may take; return the last answer."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + WITHIN_S
    while True:
        (presence,) = (await watcher.watch(user)).presence
        if holds(presence) or loop.time() > until_s:
            return presence
        await asyncio.sleep(0.1)


CLAIM = Claim(
    "P6",
    "Presence does not lie for long (between nodes)",
    "A goodbye shows at once, a closed socket after 2 s, a killed node's people within 12 s, a silent loss within 37 s; "
    "nothing older is told after something newer, and nobody pretends to know.",
    f"{RESTLESS} people came and went on two nodes while two watched; one node was killed under {FAITHFUL} more, Redis was "
    "emptied and frozen, and somebody fell silent. (Real timers.)",
    run,
)
