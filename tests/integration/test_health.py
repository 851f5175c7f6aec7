"""What a node tells of itself: alive, ready, its numbers, its documents; and that whatever came is gone when it left."""

import asyncio
import random

import msgspec
import pytest

from loadtest.client import Client, Refused
from protocol.ids import UserId
from tests.support.people import People, fresh, gauges_at_zero, name_of, numbers, say, type_in
from tests.support.programs import ROOT

SEED = 11
CHURN = 200


async def test_alive_and_ready_are_told(people: People) -> None:
    """To whoever asks; ready tells what was looked at."""
    assert (await people.api.call("GET", "/healthz")).body == b"ok\n"
    ready = msgspec.json.decode((await people.api.call("GET", "/readyz")).body)
    assert ready["ready"]
    assert set(ready["checks"].values()) == {"ok"}
    assert {"accepting", "store"} <= set(ready["checks"])


async def test_the_protocol_document_is_the_one_of_the_docs(people: People) -> None:
    """What is served is what is published."""
    served = (await people.api.call("GET", "/protocol.json")).body
    assert msgspec.json.decode(served) == msgspec.json.decode((ROOT / "docs/protocol.json").read_bytes())


async def test_the_api_document_names_every_operation(people: People) -> None:
    """Each answers something else than "no such address"."""
    document = msgspec.json.decode((await people.api.call("GET", "/openapi.json")).body)
    for path, operations in document["paths"].items():
        target = path.replace("{match}", "m").replace("{user}", "u")
        for method in operations:
            answer = await people.api.exchange(method.upper(), target)
            assert answer.status not in (405, 500), (method, path)
            assert answer.status != 404 or b'"not_found"' in answer.body


@pytest.mark.parametrize("method, target, status", [("GET", "/no/such/page", 404), ("PATCH", "/v1/matches/m", 405)])
async def test_what_is_not_there_is_told_in_json(people: People, method: str, target: str, status: int) -> None:
    """In the form of all errors."""
    answer = await people.api.exchange(method, target)
    assert answer.status == status
    assert msgspec.json.decode(answer.body)["error"]["code"] in ("not_found", "method_not_allowed")


async def test_the_numbers_follow_what_happens(people: People) -> None:
    """Gauges count who is there; counters what was done."""
    await gauges_at_zero(people.api)
    before = await numbers(people.api)
    alice, bob, match = await people.pair()
    await people.come(name_of(bob))
    await say(alice, match, "one", "two")
    await alice.send(match, "again", "c1")
    await alice.send(match, "again", "c1")
    now = await numbers(people.api)
    assert (now["connections_open"], now["sessions_authenticated"], now["users_online"]) == (3, 3, 2)
    grown = {name: now[name] - before[name] for name in ("messages_stored", "messages_duplicate", "deliveries")}
    assert grown == {"messages_stored": 3, "messages_duplicate": 1, "deliveries": 6}


async def churn_once(people: People, chance: random.Random, token: str, user: UserId) -> None:
    """Connect, do something, and go in one of the ways that clients go."""
    client = await Client.connect(people.server.ws_url, token=chance.choice([token, token, token, "bad"]))
    try:
        if chance.random() < 0.8:
            await client.hello(device=chance.choice(["a", "b"]))
            match = await people.match(user, fresh("other"))
            await type_in(client, match)
            await client.watch(user)
            await say(client, match, "x", "y")
    except Refused:
        await client.closed()
    if chance.random() < 0.5:
        await client.close()
    else:
        client.abort()
        await client.closed()


async def test_two_hundred_who_come_and_go_leave_nothing_open(people: People) -> None:
    """With and without a goodbye, before and after hello, with good and bad tokens."""
    chance = random.Random(SEED)
    users = people.users(*["user"] * 40)
    tokens = {user: await people.api.token(user) for user in users}
    turns = (chance.choice(users) for _ in range(CHURN))
    await asyncio.gather(*(churn_once(people, chance, tokens[user], user) for user in turns))
    await gauges_at_zero(people.api)
