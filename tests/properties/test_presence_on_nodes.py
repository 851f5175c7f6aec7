"""Presence on three nodes of each bus, in virtual time: whatever people, nodes and Redis do, nobody is shown wrong beyond a bound.

The truth is who has an open session. Every moment of everything that every node was shown is judged, not only the end.
"""

from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from typing_extensions import override

from protocol.ids import UserId
from server.adapters.memory.bus import DEBOUNCE_S, SETTLE_S, MemoryHubOfNodes
from server.adapters.redis.bus import RedisBus, RedisBusSettings
from server.core.presence import HANDOFF_S, Departure, Shown
from tests.support.bus_life import BusLife, LivingNode
from tests.support.presence_judge import Bounds, Loss
from tests.support.private_redis import PrivateRedis
from tests.support.steady_redis import SteadyRedis
from tests.support.virtual_time import VirtualClock, VirtualLoop

USERS: Final = tuple(UserId(name) for name in ("alice", "bob", "carol"))
NODES: Final = 3
# The moments of virtual time that a turn of the loop, or a call of Redis, takes: none.
AT_ONCE_S: Final = 0.001
REDIS: Final = RedisBusSettings("redis://127.0.0.1:1")


def bounds(settle_s: float) -> Bounds:
    """Return what the port promises, for those who look as often."""
    late_s = settle_s + AT_ONCE_S
    gone = {
        Loss.GOODBYE: AT_ONCE_S,
        Loss.CLOSE: DEBOUNCE_S + late_s,
        Loss.HANDOFF: HANDOFF_S + late_s,
        # The lease, and the next look at it.
        Loss.KILL: REDIS.lease_s + REDIS.renew_s + AT_ONCE_S,
    }
    # A node that is killed renewed its lease at most so long ago.
    grace = {Loss.CLOSE: DEBOUNCE_S, Loss.HANDOFF: HANDOFF_S, Loss.KILL: REDIS.lease_s - REDIS.renew_s}
    return Bounds(AT_ONCE_S, gone, {loss: grace_s - AT_ONCE_S for loss, grace_s in grace.items()}, unknown_s=AT_ONCE_S)


FAULTS: Final = ("kill", "freeze", "lose_answer", "cut_reader", "empty", "go_away", "restart_empty")
# Whom a fault hit (None: everybody), after how many seconds they see and have what there is, and when nothing lingers.
Suffered = tuple[int | None, float, float]
# A node that could not reach Redis tries again after at most so long; twice, when that was not the first time.
AGAIN_S: Final = 10.0
# It finds out when it renews, and asks how everybody is when all others had the time to.
RECOVERS_S: Final = REDIS.renew_s + 2 * REDIS.renew_s + REDIS.settle_s
# Whoever judges others has renewed for a lease.
LINGERS_S: Final = AGAIN_S + 2 * REDIS.lease_s + 2 * REDIS.renew_s


nodes = st.integers(0, NODES - 1)
others = st.integers(1, NODES - 1)
users = st.sampled_from(USERS)
choices = st.integers(0, 99)
# Less than a command may take; less than a lease; more than a lease.
lengths = st.sampled_from((0.1, 1.0, 3.0, 7.0, 10.5, 12.0))
# Nothing; long enough to find a dead node; long enough for everybody to judge others again.
quiet = st.sampled_from((0.0, 0.0, 14.0, 30.0))
shown = st.sampled_from([Shown(), Shown(is_idle=True)])


class Comings(RuleBasedStateMachine):
    """People come and go on three nodes, and each node watches some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.life = self.make()

    def make(self) -> BusLife:
        hub = MemoryHubOfNodes(VirtualClock(self.loop))
        return BusLife(self.loop, lambda _: hub.bus(), NODES, bounds(SETTLE_S))

    @initialize()
    def everybody_watches(self) -> None:
        self.life.pass_time(AT_ONCE_S)
        for node in self.life.alive:
            self.life.look(node, USERS)

    def alive(self, place: int) -> LivingNode:
        """Return the node at that place, or one that is there."""
        node = self.life.nodes[place]
        return self.life.alive[0] if node is None else node

    @rule(place=nodes, user=users, says=shown)
    def come(self, place: int, user: UserId, says: Shown) -> None:
        self.life.come(self.alive(place), user, says)

    @rule(place=nodes, choice=choices, departure=st.sampled_from(Departure))
    def go(self, place: int, choice: int, departure: Departure) -> None:
        node = self.alive(place)
        if node.sessions:
            self.life.go(node, node.sessions[choice % len(node.sessions)], departure)

    @rule(place=nodes, choice=choices, says=shown)
    def turn(self, place: int, choice: int, says: Shown) -> None:
        node = self.alive(place)
        if node.sessions:
            self.life.turn(node, node.sessions[choice % len(node.sessions)], says)

    @rule(place=nodes, watched=st.sets(users))
    def look(self, place: int, watched: set[UserId]) -> None:
        self.life.look(self.alive(place), sorted(watched))

    @rule(
        place=nodes, choice=choices, departure=st.sampled_from(Departure), seconds=st.sampled_from((0.0, 1.0, 1.9, 2.2))
    )
    def blink(self, place: int, choice: int, departure: Departure, seconds: float) -> None:
        """Somebody's only connection, as often as not, is gone for a moment and back through whatever node."""
        node = self.alive(place)
        if node.sessions:
            session = node.sessions[choice % len(node.sessions)]
            self.life.go(node, session, departure)
            self.life.pass_time(seconds)
            self.life.come(self.alive(choice % NODES), session.user, session.shown)

    @rule(seconds=st.sampled_from((0.0, 0.1, 0.7, 1.6, 2.3, 4.0, 16.0)))
    def pass_time(self, seconds: float) -> None:
        self.life.pass_time(seconds)

    @rule(place=others)
    def stop_or_start(self, place: int) -> None:
        node = self.life.nodes[place]
        if node is None:
            self.life.start(place)
            self.life.pass_time(AT_ONCE_S)
            self.life.look(self.alive(place), USERS)
        else:
            self.life.stop(place)

    @override
    def teardown(self) -> None:
        try:
            self.life.pass_time(DEBOUNCE_S)
            verdict = self.life.verdict()
            assert not verdict.wrong, "\n".join(map(str, verdict.wrong))
        finally:
            self.end()

    def end(self) -> None:
        self.life.close()
        self.loop.close()


class OnRedis(Comings):
    """On Redis more can happen to the nodes."""

    server: PrivateRedis

    @override
    def make(self) -> BusLife:
        clock = VirtualClock(self.loop)
        self.redis = SteadyRedis(self.server, clock, self.loop)
        self.instead = self.redis.instead()
        self.instead.__enter__()

        def bus(place: int) -> RedisBus:
            fields = {name: getattr(REDIS, name) for name in REDIS.__struct_fields__}
            return RedisBus(RedisBusSettings(**fields | {"node_name": f"node{place}"}), clock)

        return BusLife(self.loop, bus, NODES, bounds(REDIS.settle_s))

    @rule(fault=st.sampled_from(FAULTS), place=others, seconds=lengths, quiet_s=quiet)
    def suffer(self, fault: str, place: int, seconds: float, quiet_s: float) -> None:
        """One rule, so that there is not more trouble than life."""
        began_s, node = self.life.now_s, self.life.nodes[place]
        if node is not None:
            was_troubled = self.life.is_troubled(place)
            troubled, here_s, gone_s = getattr(self, fault)(place, seconds)
            if was_troubled:  # Whoever fails again waits longer before the next attempt.
                here_s, gone_s = here_s + AGAIN_S, gone_s + AGAIN_S
            self.life.trouble(troubled, began_s, self.life.now_s + here_s, self.life.now_s + gone_s)
            self.life.pass_time(quiet_s)

    def kill(self, place: int, seconds: float) -> Suffered:
        del seconds
        self.life.kill(place)
        return place, 0.0, 0.0

    def freeze(self, place: int, seconds: float) -> Suffered:
        """It is taken for dead after its lease, and finds out when it goes on."""
        self.redis.freeze(f"node{place}")
        self.go_on(seconds)
        self.redis.thaw(f"node{place}")
        return place, RECOVERS_S, LINGERS_S

    def go_on(self, seconds: float) -> None:
        """People come and go meanwhile, on the node that is never hurt by itself."""
        self.life.pass_time(seconds / 2)
        here = self.alive(0)
        if here.sessions:
            self.life.go(here, here.sessions[0], Departure.LOST)
        self.life.come(here, USERS[int(seconds * 10) % len(USERS)], Shown())
        self.life.pass_time(seconds / 2)

    def lose_answer(self, place: int, seconds: float) -> Suffered:
        """A call is done, and its node does not know."""
        del seconds
        self.redis.lose_answer(f"node{place}")
        return place, REDIS.settle_s + AGAIN_S, LINGERS_S

    def cut_reader(self, place: int, seconds: float) -> Suffered:
        del seconds
        self.redis.cut_reader(f"node{place}")
        return place, AGAIN_S, AGAIN_S

    def empty(self, place: int, seconds: float) -> Suffered:
        del place, seconds
        self.redis.empty()
        return None, RECOVERS_S, LINGERS_S

    def go_away(self, place: int, seconds: float) -> Suffered:
        return self.away(seconds, is_emptied=False)

    def restart_empty(self, place: int, seconds: float) -> Suffered:
        return self.away(seconds, is_emptied=True)

    def away(self, seconds: float, *, is_emptied: bool) -> Suffered:
        self.redis.leave(is_emptied=is_emptied)
        self.go_on(seconds)
        self.redis.come_back()
        return None, RECOVERS_S + AGAIN_S, LINGERS_S

    @override
    def end(self) -> None:
        super().end()
        self.instead.__exit__(None, None, None)
        self.redis.close()


EXAMPLES: Final = settings(max_examples=15, stateful_step_count=25)


def test_in_memory() -> None:
    run_state_machine_as_test(Comings, settings=EXAMPLES)


def test_on_redis(redis_server: PrivateRedis) -> None:
    class OnThisRedis(OnRedis):
        server = redis_server

    run_state_machine_as_test(OnThisRedis, settings=EXAMPLES)
