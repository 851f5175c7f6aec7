"""Ids are opaque: what means something to a pattern, a key of Redis, a URL or a script is only text, on every backend."""

from urllib.parse import quote

import msgspec
import pytest

from loadtest.api import ApiError
from loadtest.client import Refused
from protocol.errors import ErrorCode
from protocol.from_server import Message, Status, TypingSeen
from protocol.ids import UserId
from tests.support.people import People, came, code_of, fresh, name_of, type_in

BACKENDS = ("embedded", "shared", "two nodes")
ODD = (
    "*",
    "a:b",
    "node:1|x",
    "[x]?^",
    "duologue:c:{tag}",
    "%s%00\\u0000",
    "a/../b?c#d",
    "' OR 1=1 --",
    "ユーザー😀",
    " ",
)
CONTROL = ("a\x00b", "a\nPUBLISH b", "\x1b[2J", "a\x7f")


def odd_user(odd: str) -> UserId:
    """Return a fresh name with something odd in it."""
    return UserId(f"{odd} {fresh('u')}"[:64])


@pytest.mark.parametrize("odd", ODD)
async def test_odd_ids_are_as_good_as_others(people: People, odd: str) -> None:
    """Of matches and of users: everything reaches those whom it is for, and nobody else."""
    alice_name, bob_name, near = odd_user(odd), odd_user(odd), odd_user("near")
    match = await people.match(alice_name, bob_name)
    odd_match = f"{odd} {match}"[:64]
    await people.api.put_match(odd_match, [alice_name, bob_name])
    alice, bob, stranger = [await people.come(name) for name in (alice_name, bob_name, near)]
    for client in (alice, bob, stranger):
        await came(client, Message)
    sent = await alice.send(odd_match, "hello", odd)
    assert [push.seq for push in await came(bob, Message)] == [sent.seq]
    assert (await alice.send(odd_match, "hello", odd)).duplicate
    assert len((await bob.history(odd_match)).messages) == 2
    await type_in(alice, odd_match)
    assert [push.user for push in await came(bob, TypingSeen)] == [alice_name]
    (presence,) = (await alice.watch(bob_name, near)).presence
    assert (presence.user, presence.status) == (bob_name, Status.ONLINE)
    assert await came(stranger, Message) == []


@pytest.mark.parametrize("odd", ODD[:5])
async def test_sessions_of_an_odd_user_are_found_and_ended(people: People, odd: str) -> None:
    """Theirs alone."""
    alice, other = await people.come(odd_user(odd)), await people.come(odd_user(odd))
    path = f"/v1/users/{quote(name_of(alice), safe='')}/sessions"
    listed = msgspec.json.decode((await people.api.call("GET", path)).body)["sessions"]
    assert len(listed) == 1
    await people.api.call("DELETE", path)
    assert await alice.closed() == 4501
    await other.ping()


@pytest.mark.parametrize("bad", CONTROL)
async def test_control_characters_are_no_part_of_an_id(people: People, bad: str) -> None:
    """Refused, wherever they come in."""
    alice = await people.come(people.users("alice")[0])
    for asking in (
        people.api.put_match(bad, [name_of(alice)]),
        people.api.put_match(fresh("match"), [name_of(alice), bad]),
        people.api.token(bad),
    ):
        with pytest.raises(ApiError) as refused:
            await asking
        assert refused.value.status in (400, 404)
    with pytest.raises(Refused) as problem:
        await alice.send(bad, "x", "c1")
    assert code_of(problem.value) is ErrorCode.BAD_REQUEST
