"""People who call each other on switchboards: short words for what their clients send, and for what they hear."""

from collections.abc import Sequence
from typing import Final

from tests.support import sdp
from tests.support.switchboard import Client, Json, Switchboard

M: Final = "m"
OFFER: Final = {"type": "offer", "sdp": sdp.OFFER}


def of_type(heard: Sequence[Json], kind: str) -> list[Json]:
    """Return the messages of one type."""
    return [message for message in heard if message["type"] == kind]


def types(heard: Sequence[Json]) -> list[object]:
    """Return what kinds of messages came, in order."""
    return [message["type"] for message in heard]


def items(message: Json, field: str) -> list[Json]:
    """Return a field that is a list of objects."""
    found = message[field]
    assert isinstance(found, list)
    return found


def answer_to(heard: Sequence[Json], request_id: str) -> Json:
    """Return the answer to a request."""
    (answer,) = [message for message in heard if message.get("id") == request_id]
    return answer


async def start(client: Client, match: str = M, key: str = "k1", **more: object) -> Json:
    """Start a call; return the answer."""
    return await asked(client, type="call.start", match=match, client_id=key, media="video", **more)


async def accept(client: Client, call: object, key: str = "k2", **more: object) -> Json:
    """Accept a call; return the answer."""
    return await asked(client, type="call.accept", call=call, client_id=key, media="video", **more)


async def asked(client: Client, **message: object) -> Json:
    """Send a request and return its answer; what else came stays to be heard with `rest`."""
    heard = await client.ask(id="ask", **message)
    answer = answer_to(heard, "ask")
    client.unheard += [message for message in heard if message is not answer]
    return answer


async def rest(client: Client) -> list[Json]:
    """Return what a client heard besides answers since the last time, without the log's entries."""
    heard, client.unheard = client.unheard + await client.listen(), []
    return [message for message in heard if message["type"] != "call"]


async def connected(one: Client, other: Client, call: object, peers: tuple[object, object]) -> None:
    """Have both say that they are connected with each other; `peers` are their own names."""
    mine, theirs = peers
    for client, peer in ((one, theirs), (other, mine)):
        answer = await asked(client, type="call.state", call=call, peer=peer, ice="connected")
        assert answer["type"] == "ok", answer


async def in_a_call(board: Switchboard, match: str = M) -> tuple[Client, Client, Json, Json]:
    """Have alice and bob talk: their clients, and their seats."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    first = await start(alice, match)
    second = await accept(bob, first["call"])
    await connected(alice, bob, first["call"], (first["peer"], second["peer"]))
    for client in (alice, bob):
        await rest(client)
    return alice, bob, first, second
