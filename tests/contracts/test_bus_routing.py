"""Every bus: frames reach the right nodes, once and in order; commits are reported; notices reach the others."""

import asyncio
from itertools import count

from protocol.close_codes import CloseCode
from protocol.ids import MatchId, Seq, SessionId, UserId
from server.core.notices import Kick, MembersNews
from tests.support.bus_nodes import WITHIN_S, Buses

ODD = ["a:b", "*", "a|b", "ユーザー", "[x]?", '{"a":1}', "é" * 64, "😀" * 64, " ", "%s", "node:1"]


async def test_a_frame_reaches_the_node_of_its_user_and_no_other(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await a.register(("alice", "s1"))
    await b.register(("bob", "s2"))
    await c.register(("carol", "s3"))
    a.route("hello", "alice", "bob")
    a.route("end", "bob", "carol")
    await b.ear.frame(b"end")
    await c.ear.frame(b"end")
    assert b.ear.deliveries == [(("bob",), b"hello", None), (("bob",), b"end", None)]
    assert c.ear.deliveries == [(("carol",), b"end", None)]
    assert a.ear.deliveries == []


async def test_who_was_told_to_be_registered_misses_nothing_from_then_on(buses: Buses) -> None:
    """Also when it is said at once and again, of many; of one who has been registered for long it is said at once."""
    a, b = await buses.node(), await buses.node()
    told = [asyncio.Event() for _ in range(300)]
    for number, event in enumerate(told):
        user, session = UserId(f"user {number}"), SessionId(str(number))
        b.bus.register(user, session, None)
        b.bus.when_registered(user, session, event.set)
        b.bus.register(user, session)
    for number, event in enumerate(told):
        await asyncio.wait_for(event.wait(), WITHIN_S)
        a.route(f"to {number}", f"user {number}")
    await b.ear.frame(b"to 299")
    assert b.ear.frames == [f"to {number}".encode() for number in range(300)]
    await b.settled()
    again = asyncio.Event()
    b.bus.when_registered(UserId("user 0"), SessionId("0"), again.set)
    assert again.is_set()


async def test_a_frame_for_several_users_of_a_node_comes_once_with_all_of_them(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"), ("carol", "2"), ("dave", "3"))
    a.route("x", "bob", "nobody", "carol")
    await b.ear.frame(b"x")
    assert b.ear.deliveries == [(("bob", "carol"), b"x", None)]


async def test_each_node_of_a_user_with_several_gets_the_frame(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await a.register(("bob", "0"))
    await b.register(("bob", "1"), ("bob", "2"))
    await c.register(("bob", "3"))
    a.route("x", "bob")
    await b.ear.frame(b"x")
    await c.ear.frame(b"x")
    b.route("y", "bob")
    await a.ear.frame(b"y")
    await c.ear.frame(b"y")
    assert b.ear.frames == [b"x"]
    assert c.ear.frames == [b"x", b"y"]


async def test_a_user_is_reachable_until_the_last_session_has_gone(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await c.register(("carol", "0"))
    await b.register(("bob", "1"), ("bob", "2"), ("carol", "3"))
    await b.unregister(("bob", "1"))
    a.route("first", "bob")
    await b.ear.frame(b"first")
    await b.unregister(("bob", "2"))
    a.route("second", "bob")
    a.route("end", "carol")
    await b.ear.frame(b"end")
    assert b.ear.frames == [b"first", b"end"]


async def test_the_last_of_several_changes_in_one_turn_holds(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    b.come("bob", "1")
    b.go("bob", "1")
    b.go("carol", "never was")
    b.come("carol", "2")
    b.come("carol", "2")
    b.go("carol", "2")
    b.come("carol", "2")
    await b.settled()
    a.route("x", "bob", "carol")
    await b.ear.frame(b"x")
    assert b.ear.deliveries == [(("carol",), b"x", None)]


async def test_a_node_cannot_unregister_what_is_registered_on_another(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await a.register(("bob", "1"))
    await b.register(("bob", "1"))
    await a.unregister(("bob", "1"))
    a.route("x", "bob")
    await b.ear.frame(b"x")


async def test_frames_of_one_sender_keep_their_order_and_come_once(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await c.register(("carol", "1"), ("dave", "2"))
    for number in range(400):
        for sender, letter in ((a, "a"), (b, "b")):
            sender.route(f"{letter}{number}", "carol" if number % 3 else "dave")
        if number % 40 == 0:
            await asyncio.sleep(0)
    await c.ear.frame(b"a399")
    await c.ear.frame(b"b399")
    for name in (b"a", b"b"):
        assert [frame for frame in c.ear.frames if frame[:1] == name] == [name + b"%d" % n for n in range(400)]


async def test_of_ephemeral_frames_with_one_key_the_latest_comes_last(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    key, other = ("typing", "m", "alice"), ("typing", "m:", "alice")
    for number in range(50):
        a.route(f"{number}", "bob", key=key)
    a.route("other", "bob", key=other)
    a.route("end", "bob")
    await b.ear.frame(b"end")
    ephemeral = [frame for _, frame, its_key in b.ear.deliveries if its_key == key]
    assert ephemeral[-1] == b"49"
    assert ephemeral == sorted(ephemeral, key=int)
    assert (("bob",), b"other", other) in b.ear.deliveries


async def test_ephemeral_frames_for_different_users_do_not_replace_each_other(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"), ("carol", "2"))
    a.route("for bob", "bob", key=("k",))
    a.route("for carol", "carol", key=("k",))
    await b.ear.frame(b"for carol")
    assert b.ear.frames == [b"for bob", b"for carol"]


async def test_frames_are_bytes_of_any_kind_and_size(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    frames = [bytes(range(256)), b"", b"\x81\xff" * 100_000, b"\x00"]
    for frame in frames:
        a.route(frame, "bob")
    await b.ear.until(lambda ear: len(ear.frames) == len(frames))
    assert b.ear.frames == frames


async def test_users_and_sessions_may_have_any_characters(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(*((user, session) for user in ODD for session in ODD))
    await b.unregister(*((user, session) for user in ODD for session in ODD[1:]))
    for user in ODD:
        a.route(user, user, key=(user, user))
    await b.ear.frame(ODD[-1].encode())
    assert b.ear.deliveries == [((user,), user.encode(), (user, user)) for user in ODD]
    assert {state.user for state in (await b.watch(*ODD)).values()} == set(ODD)


async def test_a_frame_may_have_thousands_of_recipients(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    users = [f"user {number}" for number in range(1_234)]
    await b.register(*((user, f"{user} b") for user in users[::2]))
    await c.register(*((user, f"{user} c") for user in users[::3]))
    a.route("x", *users)
    a.route("end", users[0])
    await b.ear.frame(b"end")
    await c.ear.frame(b"end")
    for node, step in ((b, 2), (c, 3)):
        told = [user for recipients, frame, _ in node.ear.deliveries if frame == b"x" for user in recipients]
        assert told == users[::step]


async def test_commits_are_reported_once_they_are_out(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    a.route("x", "bob")
    a.route("y", "nobody")
    a.bus.batch_ended(7)
    a.bus.batch_ended(8)
    a.route("z", "bob")
    a.bus.batch_ended(9)
    a.route("open", "bob")
    await a.ear.until(lambda ear: len(ear.routed_ids) == 3)
    await b.ear.frame(b"open")
    assert a.ear.routed_ids == [7, 8, 9]
    assert b.ear.frames == [b"x", b"z", b"open"]
    assert b.ear.routed_ids == []


async def test_many_commits_are_reported_each_once(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    for route_id in range(1_000):
        a.route(b"%d" % route_id, "bob", f"nobody {route_id}")
        a.bus.batch_ended(route_id)
    await a.ear.until(lambda ear: len(ear.routed_ids) == 1_000)
    await b.ear.frame(b"999")
    assert a.ear.routed_ids == list(range(1_000))
    assert b.ear.frames == [b"%d" % number for number in range(1_000)]


async def test_a_notice_reaches_every_other_node_in_order_with_the_frames(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    news = MembersNews(MatchId("m"), Seq(1), (UserId("alice"), UserId("ユーザー")))
    kick = Kick(UserId("bob"), CloseCode.REPLACED, "gone")
    a.bus.announce(news)
    a.route("x", "bob")
    a.bus.announce(kick)
    await b.ear.until(lambda ear: len(ear.notices) == 2)
    await c.ear.until(lambda ear: len(ear.notices) == 2)
    assert b.ear.notices == c.ear.notices == [news, kick]
    assert b.ear.in_order == [news, b"x", kick]
    assert a.ear.notices == []


async def test_a_node_that_has_left_hears_and_says_nothing_more(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await b.register(("bob", "1"))
    await c.register(("carol", "2"))
    await b.watch("carol")
    await b.leave()
    heard = len(b.ear.alive), len(b.ear.changes)
    b.come("bob", "3")
    b.route("from b", "carol")
    b.bus.announce(Kick(UserId("carol"), 4500, "from b"))
    b.bus.batch_ended(1)
    b.bus.unwatch([UserId("carol")])
    a.route("x", "bob", "carol")
    a.bus.announce(Kick(UserId("dave"), 4500, "from a"))
    await c.ear.until(lambda ear: bool(ear.notices))
    await c.unregister(("carol", "2"))
    assert c.ear.frames == [b"x"]
    assert [notice for notice in c.ear.notices if isinstance(notice, Kick)] == [Kick(UserId("dave"), 4500, "from a")]
    assert b.ear.deliveries == []
    assert b.ear.notices == []
    assert (len(b.ear.alive), len(b.ear.changes)) == heard
    assert b.ear.routed_ids == []


async def test_a_node_alone_reports_its_commits_and_has_no_trouble(buses: Buses) -> None:
    node = await buses.node()
    assert node.bus.trouble == ""
    await node.register(("alice", "1"))
    node.route("x", "alice", "bob")
    node.route("y", "alice", "bob", key=("k",))
    node.bus.announce(Kick(UserId("alice"), 4500, ""))
    node.route("to nobody")
    node.bus.batch_ended(1)
    await node.ear.until(lambda ear: ear.routed_ids == [1])
    assert node.ear.deliveries == []
    assert node.ear.notices == []


async def test_sessions_that_come_and_go_leave_the_rest_reachable(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    numbers = count()
    for _ in range(40):
        await b.register(*((f"user {next(numbers)}", "s") for _ in range(10)))
        latest = next(numbers)
        await b.unregister(*((f"user {number}", "s") for number in range(latest - 5, latest)))
    a.route("x", *(f"user {number}" for number in range(next(numbers))))
    a.route("end", "user 0")
    await b.ear.frame(b"end")
    told = [user for recipients, frame, _ in b.ear.deliveries if frame == b"x" for user in recipients]
    assert told == [f"user {number}" for number in range(440) if number % 11 < 5]
