"""What waits to be routed: order, what is dropped first, how calls are cut, which commits count as out."""

from protocol.ids import UserId
from server.adapters.redis.outgoing import CALL_MAX_BYTES, ENTRY_BYTES, LOOKUPS_MAX, NOTICES_MAX, Outgoing, RouteCall
from server.adapters.redis.routing import Routing

ALICE, BOB = UserId("alice"), UserId("bob")
ROOM = 100_000
BIG = b"x" * 30_000


def kinds(call: RouteCall) -> str:
    """The kinds of a call's entries; an end of a commit is a dot."""
    return "".join(entry.kind.decode() or "." for entry in call.entries)


def _size(call: RouteCall) -> int:
    return sum(len(entry.rest) for entry in call.entries)


def take_all(outgoing: Outgoing) -> list[RouteCall]:
    calls = []
    while outgoing:
        calls.append(outgoing.take())
    assert outgoing.bytes == 0
    return calls


def test_everything_leaves_in_order() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable((ALICE, BOB), b"1")
    outgoing.end_commit(1)
    outgoing.add_notice(b"{}")
    outgoing.add_latest((BOB,), b"2", ("k",))
    (call,) = take_all(outgoing)
    assert kinds(call) == "D.NL"
    assert call.has_items
    assert call.route_ids() == [1]
    assert call.arguments()[:4] == [2, "alice", "bob", b"D\x00\x00\x00\x01"]


def test_the_latest_of_a_key_takes_the_place_of_the_earlier_at_the_end() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_latest((BOB,), b"old", ("k",))
    outgoing.add_durable((BOB,), b"between")
    outgoing.add_latest((BOB,), b"new", ("k",))
    (call,) = take_all(outgoing)
    assert kinds(call) == "DL"
    assert b"new" in call.entries[1].rest


def test_without_room_the_ephemeral_goes_first_and_commits_with_a_loss_are_not_reported() -> None:
    outgoing = Outgoing(ROOM)
    for number in range(3):
        outgoing.add_latest((BOB,), BIG, (str(number),))
    outgoing.add_latest((BOB,), BIG, ("no room",))
    assert (outgoing.dropped_ephemeral, outgoing.dropped_durable) == (1, 0)
    for number in range(4):
        outgoing.add_durable((BOB,), BIG)
        outgoing.end_commit(number)
    outgoing.add_latest((BOB,), BIG, ("no room",))
    assert (outgoing.dropped_ephemeral, outgoing.dropped_durable) == (5, 1)
    (call,) = take_all(outgoing)
    assert kinds(call) == "D.D.D.."
    assert call.route_ids() == [0, 1, 2]


def test_a_call_is_bounded_in_users_and_in_bytes() -> None:
    outgoing = Outgoing(100 * CALL_MAX_BYTES)
    users = [UserId(f"{number}") for number in range(LOOKUPS_MAX + 10)]
    outgoing.add_durable(users, b"to many")
    outgoing.end_commit(1)
    for user in users[: LOOKUPS_MAX - 9]:
        outgoing.add_durable((user,), b"one by one")
    for _ in range(3):
        outgoing.add_durable((BOB,), b"x" * (CALL_MAX_BYTES // 2))
    outgoing.add_durable((BOB,), b"x" * (2 * CALL_MAX_BYTES))
    calls = take_all(outgoing)
    assert all(int(call.arguments()[0]) <= LOOKUPS_MAX for call in calls)
    assert all(len(call.entries) == 1 or _size(call) <= CALL_MAX_BYTES for call in calls)
    assert sum(len(call.entries) for call in calls) == 2 + 1 + LOOKUPS_MAX - 9 + 4
    assert [call.route_ids() for call in calls].count([1]) == 1
    assert not calls[0].route_ids()


def test_a_commit_whose_first_call_was_given_up_is_not_reported_by_its_second() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable([UserId(f"{number}") for number in range(LOOKUPS_MAX + 1)], b"x")
    outgoing.end_commit(1)
    outgoing.add_durable((BOB,), b"y")
    outgoing.end_commit(2)
    outgoing.give_up(outgoing.take())
    (rest,) = take_all(outgoing)
    assert rest.route_ids() == [2]
    assert outgoing.dropped_durable == 1


def test_what_is_put_back_comes_before_the_rest() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable((BOB,), b"1")
    outgoing.add_notice(b"{}")
    call = outgoing.take()
    outgoing.add_latest((BOB,), b"2", ("k",))
    outgoing.put_back(call.entries)
    (again,) = take_all(outgoing)
    assert kinds(again) == "DNL"


def test_notices_outlive_a_call_that_is_given_up_but_not_one_that_cannot_be_done() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable((BOB,), b"1")
    outgoing.add_notice(b"{}")
    outgoing.add_latest((BOB,), b"2", ("k",))
    outgoing.give_up(outgoing.take())
    call = outgoing.take()
    assert kinds(call) == "N"
    outgoing.refuse(call)
    call = outgoing.take()
    assert kinds(call) == "G"
    outgoing.refuse(call)
    assert not outgoing


def test_too_many_notices_become_one_gap() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable((BOB,), b"1")
    for number in range(NOTICES_MAX + 1):
        outgoing.add_notice(b"%d" % number)
    assert "".join(map(kinds, take_all(outgoing))) == "DGN"


def test_a_frame_for_nobody_is_nothing() -> None:
    outgoing = Outgoing(ROOM)
    outgoing.add_durable((), b"x")
    outgoing.add_latest((), b"x", ("k",))
    assert not outgoing
    outgoing.end_commit(5)
    assert outgoing.bytes == ENTRY_BYTES
    call = outgoing.take()
    assert not call.has_items
    assert call.route_ids() == [5]


def test_a_call_keeps_its_number_until_it_is_answered() -> None:
    outgoing, routed = Outgoing(ROOM), list[int]()
    routing = Routing(outgoing)
    assert routing.next_call(routed.extend) is None
    outgoing.add_durable((BOB,), b"1")
    outgoing.end_commit(1)
    call = routing.next_call(routed.extend)
    assert call is not None
    outgoing.add_durable((BOB,), b"2")
    assert routing.next_call(routed.extend) is call
    assert (call.number, routed) == (1, [])
    routing.answered(b"done", routed.extend)
    assert routed == [1]
    call = routing.next_call(routed.extend)
    assert call is not None
    assert call.number == 2
    routing.answered(b"lost", routed.extend)
    call = routing.next_call(routed.extend)
    assert call is not None
    assert kinds(call) == "D"
    routing.begin_anew()
    routing.begin_anew()
    outgoing.add_durable((BOB,), b"3")
    outgoing.end_commit(3)
    call = routing.next_call(routed.extend)
    assert call is not None
    assert call.number == 1
    routing.answered(ValueError("a fault"), routed.extend)
    assert routed == [1]
