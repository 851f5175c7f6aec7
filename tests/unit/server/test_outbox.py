"""The two lanes of an outbox: order, bounds, and what a slow or dead reader gets."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from protocol.codec import encode
from protocol.from_server import ReceiptMoved
from protocol.ids import MatchId, Seq, UserId
from server.core.latest import receipt_key
from server.outbox import Flusher, Outbox, frame_text
from tests.support.sockets import MemoryLoop, MemoryTransport

KIB = 1024


class Flow(asyncio.BaseProtocol):
    """What a connection does for its outbox."""

    def __init__(self, outbox: Outbox) -> None:
        """Serve `outbox`."""
        self.outbox = outbox

    @override
    def pause_writing(self) -> None:
        self.outbox.pause()

    @override
    def resume_writing(self) -> None:
        self.outbox.resume()


class Bench:
    """An outbox on a transport in memory."""

    def __init__(self, *, bound_bytes: int = 256 * KIB, hold_s: float = 0.1, keys_max: int = 4) -> None:
        """Connect."""
        self.loop = MemoryLoop()
        self.flusher = Flusher(self.loop, bound_bytes=bound_bytes, hold_s=hold_s, keys_max=keys_max)
        self.transport, self.outbox = self.add()

    def add(self) -> tuple[MemoryTransport, Outbox]:
        """Make another outbox of the same loop."""
        transport = MemoryTransport()
        outbox = Outbox(transport, self.flusher)
        transport.protocol = Flow(outbox)
        return transport, outbox

    @property
    def writes(self) -> list[bytes]:
        """What was written, by system call."""
        return self.transport.writes


@pytest.fixture
def bench() -> Bench:
    """One outbox."""
    return Bench()


@pytest.mark.parametrize(
    "size, head",
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + (65_536).to_bytes(8, "big")),
    ],
)
def test_a_text_frame_is_final_and_unmasked(size: int, head: bytes) -> None:
    """RFC 6455 section 5.2, every form of length."""
    assert frame_text(b"x" * size) == head + b"x" * size


def test_all_frames_of_a_tick_leave_in_one_write_and_in_order(bench: Bench) -> None:
    """And not before the tick."""
    assert all(bench.outbox.send(frame) for frame in (b"a", b"b", b"c"))
    assert bench.writes == []
    bench.loop.tick()
    assert bench.writes == [b"abc"]
    bench.outbox.send(b"d")
    bench.loop.tick()
    assert bench.writes == [b"abc", b"d"]


def test_one_call_flushes_every_dirty_outbox(bench: Bench) -> None:
    """A tick costs one call, however many are dirty."""
    others = [bench.add() for _ in range(3)]
    for _, outbox in others:
        outbox.send(b"x")
    bench.outbox.send(b"y")
    assert len(bench.loop.ready) == 1
    bench.loop.tick()
    assert [transport.writes for transport, _ in others] == [[b"x"]] * 3
    assert bench.writes == [b"y"]


def test_a_dead_socket_does_not_stop_the_flush(bench: Bench) -> None:
    """uvloop raises RuntimeError on a write after connection_lost."""
    dead, outbox = bench.add()
    dead.is_dead = True
    special, special_outbox = bench.add()
    special.is_dead = True
    outbox.send(b"x")
    special_outbox.send_latest(("k",), b"x")
    special_outbox.flush()
    bench.outbox.send(b"y")
    bench.loop.tick()
    assert bench.writes == [b"y"]
    assert dead.is_aborted
    assert special.is_aborted
    assert outbox.send(b"z")


# ------------------------------------------------------------------------------------------------------ the bound


def test_what_would_pass_the_bound_is_refused(bench: Bench) -> None:
    """Bytes here and bytes in the transport count together."""
    bench.transport.is_stuck = True
    chunk = b"x" * 64 * KIB
    sent = 0
    while bench.outbox.send(chunk):
        sent += 1
        bench.loop.tick()
    assert sent == 4
    assert bench.outbox.is_paused
    assert not bench.outbox.send(b"x" * (64 * KIB))


def test_the_bound_holds_within_one_tick(bench: Bench) -> None:
    """Before anything is written."""
    assert bench.outbox.send(b"x" * 200 * KIB)
    assert bench.outbox.send(b"x" * 56 * KIB)
    assert not bench.outbox.send(b"x")
    assert bench.outbox.queued_bytes == 256 * KIB


def test_a_reader_that_catches_up_is_no_longer_slow(bench: Bench) -> None:
    """The transport says so."""
    bench.transport.is_stuck = True
    bench.outbox.send(b"x" * 200 * KIB)
    bench.loop.tick()
    assert not bench.outbox.send(b"x" * 100 * KIB)
    bench.transport.read()
    assert bench.outbox.send(b"x" * 100 * KIB)


def test_send_all_names_the_slow_and_serves_the_others(bench: Bench) -> None:
    """One object for everybody."""
    slow_transport, slow = bench.add()
    slow_transport.is_stuck = True
    slow.send(b"x" * 256 * KIB)
    waiting_transport, waiting = bench.add()
    waiting.send_latest(("k",), b"latest")
    bench.loop.tick()
    assert bench.flusher.send_all([bench.outbox, slow, waiting], b"frame") == [slow]
    assert bench.flusher.send_all([bench.outbox], b"+") == []
    bench.loop.tick()
    assert bench.writes == [b"frame+"]
    assert waiting_transport.output == b"latestframe"


# ------------------------------------------------------------------------------------------------ the ephemeral lane


def test_only_the_latest_of_a_key_leaves_after_the_hold_time(bench: Bench) -> None:
    """For all that began to wait in the meantime, at once."""
    bench.outbox.send_latest(("typing",), b"1")
    bench.loop.pass_time(0.06)
    bench.outbox.send_latest(("typing",), b"2")
    bench.outbox.send_latest(("presence",), b"p")
    assert bench.writes == []
    bench.loop.pass_time(0.05)
    assert bench.writes == [b"2p"]
    bench.loop.pass_time(1)
    assert bench.writes == [b"2p"]


def test_something_durable_takes_them_along_in_the_order_of_their_coming(bench: Bench) -> None:
    """So that a message after `typing` clears it, and `typing` after a message does not."""
    bench.outbox.send_latest(("typing",), b"<on>")
    bench.outbox.send(b"<message>")
    bench.outbox.send_latest(("typing",), b"<on again>")
    bench.loop.tick()
    assert bench.writes == [b"<on><message><on again>"]
    bench.outbox.send(b"<a>")
    bench.outbox.send_latest(("typing",), b"<b>")
    bench.outbox.send(b"<c>")
    bench.loop.tick()
    assert bench.writes[1:] == [b"<a><b><c>"]


def test_without_a_hold_time_they_leave_at_the_next_tick() -> None:
    """0 switches it off."""
    bench = Bench(hold_s=0)
    bench.outbox.send_latest(("k",), b"1")
    bench.loop.tick()
    assert bench.writes == [b"1"]


def test_the_number_of_keys_is_bounded(bench: Bench) -> None:
    """A known key is still replaced."""
    assert all(bench.outbox.send_latest((str(key),), b"%d" % key) for key in range(4))
    assert not bench.outbox.send_latest(("4",), b"4")
    assert bench.outbox.send_latest(("0",), b"new")
    bench.loop.pass_time(0.2)
    assert bench.writes == [b"new123"]


def test_a_slow_reader_gets_the_latest_when_it_has_caught_up(bench: Bench) -> None:
    """While it is paused they coalesce, and nothing durable takes them along."""
    bench.transport.is_stuck = True
    bench.outbox.send(b"x" * 100 * KIB)
    bench.loop.tick()
    bench.outbox.send_latest(("k",), b"old")
    bench.loop.pass_time(1)
    bench.outbox.send_latest(("k",), b"new")
    bench.outbox.send(b"durable")
    bench.loop.tick()
    assert bench.writes[1:] == [b"durable"]
    bench.transport.read()
    bench.loop.tick()
    assert bench.writes[2:] == [b"new"]


def test_what_is_worth_nothing_later_waits_for_no_slow_reader(bench: Bench) -> None:
    """Neither what comes while bytes are waiting, nor what came just before; receipts do."""
    bench.outbox.send_passing(("typing", "before"), b"<typing>")
    bench.outbox.send_latest(("receipt",), b"<receipt>")
    bench.transport.is_stuck = True
    bench.outbox.pause()
    bench.outbox.send_passing(("typing", "paused"), b"<typing>")
    bench.outbox.send(b"<message>")
    bench.loop.pass_time(1)
    bench.transport.read()
    bench.outbox.resume()
    bench.loop.tick()
    assert bench.transport.output == b"<message><receipt>"
    bench.transport.is_stuck = True
    bench.outbox.send(b"x")
    bench.loop.tick()
    assert not bench.outbox.is_paused
    bench.outbox.send_passing(("typing",), b"<typing>")
    bench.transport.read()
    bench.loop.pass_time(1)
    bench.outbox.send_passing(("typing",), b"<later>")
    bench.loop.pass_time(1)
    assert bench.transport.output == b"<message><receipt>x<later>"


def test_what_is_worth_nothing_later_does_not_wait_for_a_resume(bench: Bench) -> None:
    """It would be shown behind messages that came after it."""
    bench.outbox.hold()
    bench.outbox.send_passing(("typing",), b"<typing>")
    bench.outbox.send(b"<message>")
    bench.outbox.release()
    bench.loop.pass_time(1)
    assert bench.transport.output == b"<message>"
    bench.outbox.shut()
    bench.outbox.send_passing(("typing",), b"<typing>")


# ------------------------------------------------------------------------------------------------------------ resume


def test_a_resume_goes_ahead_of_what_is_held(bench: Bench) -> None:
    """What was queued before stays in front, what is live comes behind, ephemeral frames last."""
    bench.outbox.send(b"<ok>")
    bench.outbox.hold()
    bench.outbox.hold()
    bench.outbox.send(b"<live 1>")
    bench.outbox.send_latest(("k",), b"<typing>")
    assert bench.outbox.send_ahead(b"<page 1>")
    bench.loop.pass_time(1)
    assert bench.writes == [b"<ok><page 1>"]
    bench.outbox.send(b"<live 2>")
    bench.outbox.send_ahead(b"<page 2>")
    bench.outbox.release()
    bench.outbox.release()
    bench.loop.tick()
    assert bench.writes[1:] == [b"<page 2><live 1><live 2><typing>"]
    assert bench.outbox.queued_bytes == 0
    bench.outbox.send_ahead(b"<as send>")
    bench.loop.tick()
    assert bench.writes[2:] == [b"<as send>"]


def test_what_is_held_counts_against_the_bound(bench: Bench) -> None:
    """A resume must not make room for a flood."""
    bench.outbox.hold()
    assert bench.outbox.send(b"x" * 200 * KIB)
    assert not bench.outbox.send(b"x" * 100 * KIB)
    assert bench.outbox.send_ahead(b"x" * 50 * KIB)
    assert not bench.outbox.send_ahead(b"x" * 50 * KIB)
    bench.loop.tick()
    assert bench.outbox.queued_bytes == 200 * KIB
    assert bench.outbox.send_ahead(b"x" * 50 * KIB)


def test_pages_are_written_as_the_socket_drains(bench: Bench) -> None:
    """`when_drained` calls in a later tick, once, and not before a paused reader caught up."""
    calls: list[int] = []
    bench.outbox.when_drained(lambda: calls.append(1))
    assert calls == []
    bench.loop.tick()
    assert calls == [1]
    bench.transport.is_stuck = True
    bench.outbox.hold()
    bench.outbox.send_ahead(b"x" * 100 * KIB)
    bench.outbox.when_drained(lambda: calls.append(3))
    bench.outbox.when_drained(lambda: calls.append(2), ahead=True)
    bench.loop.tick()
    assert calls == [1]
    bench.transport.read()
    bench.loop.tick()
    bench.loop.tick()
    assert calls == [1, 2]  # what does not belong to the resume waits for its end
    bench.outbox.release()
    bench.loop.tick()
    assert calls == [1, 2, 3]


def test_what_is_held_can_be_dropped(bench: Bench) -> None:
    """Of a resume that failed only what was sent ahead is written."""
    bench.outbox.hold()
    bench.outbox.send(b"held")
    bench.outbox.send_latest(("key",), b"latest")
    bench.outbox.send_ahead(b"ahead")
    bench.outbox.drop_held()
    bench.loop.tick()
    assert (bench.transport.writes, bench.outbox.queued_bytes) == ([b"ahead"], 0)
    bench.outbox.shut()
    bench.outbox.when_drained(lambda: None)
    bench.loop.tick()


def test_an_ephemeral_frame_can_be_taken_back(bench: Bench) -> None:
    """What is not there is no fault."""
    bench.outbox.drop_latest(("key",))
    bench.outbox.send_latest(("key",), b"latest")
    bench.outbox.drop_latest(("key",))
    bench.outbox.send(b"x")
    bench.loop.tick()
    assert bench.transport.writes == [b"x"]


def test_the_fault_of_a_drained_callback_ends_that_connection_only(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The flush goes on."""

    def fault() -> None:
        raise RuntimeError("planted")

    other, outbox = bench.add()
    bench.outbox.when_drained(fault)
    outbox.send(b"x")
    with caplog.at_level(logging.ERROR):
        bench.loop.tick()
    assert bench.transport.is_aborted
    assert other.writes == [b"x"]
    assert len(caplog.records) == 1


def test_a_callback_that_shuts_its_own_outbox_may_fail_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """There is no transport left to abort."""

    def fault() -> None:
        bench.outbox.shut()
        raise RuntimeError("planted")

    bench.outbox.when_drained(fault)
    with caplog.at_level(logging.ERROR):
        bench.loop.tick()
    assert not bench.transport.is_aborted


# ----------------------------------------------------------------------------------------------------------- the end


def test_finish_writes_what_is_durable_and_shuts(bench: Bench) -> None:
    """Also what is held; not what is ephemeral."""
    bench.outbox.send(b"a")
    bench.outbox.hold()
    bench.outbox.send(b"held")
    bench.outbox.send_latest(("k",), b"typing")
    bench.outbox.finish()
    bench.outbox.send(b"late")
    bench.outbox.send_latest(("k",), b"late")
    bench.outbox.send_ahead(b"late")
    bench.outbox.resume()
    bench.loop.pass_time(1)
    assert bench.writes == [b"aheld"]


def test_finish_drops_what_a_slow_reader_did_not_get(bench: Bench) -> None:
    """It will resume by its cursors; the close frame comes sooner."""
    bench.transport.is_stuck = True
    bench.outbox.send(b"x" * 100 * KIB)
    bench.loop.tick()
    bench.outbox.send(b"more")
    bench.outbox.finish()
    bench.loop.tick()
    assert len(bench.writes) == 1


def test_a_shut_outbox_swallows_frames_and_does_not_call_that_slow(bench: Bench) -> None:
    """Whoever fans out must not close a connection twice."""
    bench.outbox.send(b"a")
    bench.outbox.send_latest(("k",), b"typing")
    bench.outbox.shut()
    assert bench.outbox.send(b"b" * 1_000 * KIB)
    assert bench.outbox.send_ahead(b"b" * 1_000 * KIB)
    assert bench.outbox.send_latest(("k",), b"c")
    assert bench.flusher.send_all([bench.outbox], b"d") == []
    bench.loop.pass_time(1)
    assert bench.writes == []


# ---- receipts

RECEIPT = receipt_key(MatchId("m1"), UserId("bob"))


def receipt(delivered: int, read: int) -> bytes:
    """How far bob is."""
    return frame_text(encode(ReceiptMoved(MatchId("m1"), UserId("bob"), Seq(delivered), Seq(read))))


def moves(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return how far somebody is after each step."""
    return [(1 + sum(d for d, _ in steps[:n]), 1 + sum(r for _, r in steps[:n])) for n in range(len(steps) + 1)]


@given(st.lists(st.sampled_from([(1, 0), (0, 1), (9, 9)]), max_size=5).map(moves).flatmap(st.permutations))
def test_of_the_receipts_of_a_member_the_one_that_tells_most_is_sent(told: list[tuple[int, int]]) -> None:
    """In whatever order two nodes have told them."""
    bench = Bench()
    for delivered, read in told:
        assert bench.outbox.send_latest(RECEIPT, receipt(delivered, read))
    bench.loop.pass_time(1)
    assert bench.writes == [receipt(*max(told))]


# ---- while nobody looks

TYPING = ("typing", "m1", "bob")
PRESENCE = ("presence", "bob")


def test_who_does_not_look_is_spared_typing_and_presence(bench: Bench) -> None:
    """Receipts and what is durable come as always; then the newest of each, once."""
    bench.outbox.hold_back()
    for key in (PRESENCE, TYPING):
        assert bench.outbox.send_latest(key, b"<old>")
        assert bench.outbox.send_latest(key, f"<{key[0]}>".encode())
    assert all(bench.outbox.send_latest(RECEIPT, receipt(2, read)) for read in (1, 2))
    bench.outbox.send(b"<message>")
    bench.loop.tick()
    bench.loop.pass_time(1)
    assert bench.writes == [receipt(2, 2) + b"<message>"]
    assert bench.outbox.give_back()
    bench.outbox.send(b"<ok>")
    bench.loop.tick()
    assert bench.writes[1:] == [b"<presence><typing><ok>"]
    assert bench.outbox.give_back()
    bench.outbox.send_latest(TYPING, b"<live>")
    bench.loop.pass_time(0.1)
    assert bench.writes[2:] == [b"<live>"]


def test_what_is_outdated_when_somebody_looks_is_not_sent(bench: Bench) -> None:
    """Cleared by a message, of somebody who is watched no more, or run out."""
    bench.outbox.watch_only(())
    bench.outbox.forget_users({"carol"})
    bench.outbox.hold_back()
    bench.outbox.send_latest(("typing", "m1", "early"), b"<early>")
    bench.loop.pass_time(7.9)
    bench.outbox.send_latest(TYPING, b"<typing>")
    bench.outbox.send_latest(("typing", "m1", "carol"), b"<carol>")
    bench.outbox.send_latest(PRESENCE, b"<presence>")
    bench.outbox.send_latest(("presence", "carol"), b"<carol is here>")
    bench.outbox.send_latest(("typing", "m1", "mallory"), b"<mallory>")
    bench.outbox.forget_users({"mallory"})
    bench.outbox.hold_back()  # It is said twice.
    bench.loop.pass_time(0.1)
    bench.outbox.send_passing(("typing", "m1", "carol"), b"<carol>")
    bench.outbox.drop_latest(TYPING)
    bench.outbox.watch_only(("carol",))
    assert bench.outbox.give_back()
    bench.loop.pass_time(0.1)
    assert bench.writes == [b"<carol is here><carol>"]


def test_more_than_the_keys_that_may_wait_is_given_back_all_the_same(bench: Bench) -> None:
    bench.outbox.hold_back()
    for number in range(9):
        bench.outbox.send_latest(("presence", f"user {number}"), b"<%d>" % number)
    assert bench.outbox.give_back()
    bench.loop.pass_time(0.1)
    assert b"".join(bench.writes) == b"".join(b"<%d>" % number for number in range(9))


def test_a_reader_too_slow_for_what_is_given_back_is_told_of() -> None:
    bench = Bench(bound_bytes=100, keys_max=1)
    bench.outbox.hold_back()
    for number in range(9):
        bench.outbox.send_latest(("presence", f"user {number}"), b"x" * 60)
    assert not bench.outbox.give_back()


def test_nothing_is_held_back_after_the_end(bench: Bench) -> None:
    bench.outbox.hold_back()
    bench.outbox.send_latest(TYPING, b"<typing>")
    bench.outbox.shut()
    assert bench.outbox.give_back()
    bench.outbox.hold_back()
    assert bench.outbox.send_latest(TYPING, b"<typing>")
    assert bench.outbox.give_back()
    assert bench.writes == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("latest"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["tick", "hold", "release", "ahead", "stick", "read", "wait"]), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_durable_frames_keep_their_order_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """Random play: live frames in order, pages in order, all of them; of each key the last one is the last."""
    bench = Bench(bound_bytes=1 << 30)
    live: list[bytes] = []
    ahead: list[bytes] = []
    last: dict[int, bytes] = {}
    for number, (step, key) in enumerate(steps):
        match step:
            case "send":
                live.append(b"<s%d>" % number)
                bench.outbox.send(live[-1])
            case "latest":
                last[key] = b"<l%d.%d>" % (key, number)
                bench.outbox.send_latest((str(key),), last[key])
            case "ahead":
                ahead.append(b"<a%d>" % number)
                bench.outbox.send_ahead(ahead[-1])
            case "tick":
                bench.loop.tick()
            case "wait":
                bench.loop.pass_time(0.2)
            case "hold":
                bench.outbox.hold()
            case "release":
                bench.outbox.release()
            case "stick":
                bench.transport.is_stuck, bench.transport.high_bytes = True, 10
            case _:
                bench.transport.read()
    bench.transport.read()
    bench.outbox.release()
    bench.loop.tick()
    bench.loop.pass_time(1)
    written = bench.transport.output.replace(b">", b">\n").split()
    assert [frame for frame in written if frame.startswith(b"<s")] == live
    assert [frame for frame in written if frame.startswith(b"<a")] == ahead
    for key, frame in last.items():
        assert [one for one in written if one.startswith(b"<l%d." % key)][-1] == frame
