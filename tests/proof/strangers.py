"""P9: nobody in who does not belong."""

import base64
import time
from collections.abc import Awaitable, Callable, Sequence

from loadtest.api import ApiError
from loadtest.client import Client, Closed, Refused
from loadtest.tokens import sign_token
from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_server import MatchLeft, MembersChanged, Message, Push
from protocol.ids import MatchId, Micros, Seq
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import TOKEN_SECRET, Node, token

# A name that no field of the protocol has in it: whether it leaks is looked for in whole answers.
MATCH = MatchId("match-of-two")


async def run(ground: Ground) -> list[Check]:
    """Try everything on somebody else's match, with a good token and with bad ones."""
    node = await ground.node()
    api = node.api()
    await api.put_match(MATCH, ["alice", "bob"])
    await api.put_match("own", ["mallory", "carol"])
    alice = await node.arrive("alice")
    await alice.send(MATCH, "for bob only", "c1")
    members = [alice, await node.arrive("bob")]
    before = await api.log(MATCH)
    mallory = await node.arrive("mallory")
    checks = [
        await _over_the_socket(mallory),
        await _over_http(node),
        await _by_listening(mallory, alice),
        Check(f"the log is as it was, {len(before) + 1} entries", len(await api.log(MATCH)) == len(before) + 1),
        Check(f"the members noticed {_noticed(members)} of it", _noticed(members) == 0),
        await _forged(node),
        *await _removed(node, alice),
    ]
    api.close()
    await node.stop()
    return checks


async def _over_the_socket(mallory: Client) -> Check:
    """Requests must be refused, or answered with nothing of the match in it."""
    cursors = {MATCH: (Seq(0), Micros(0))}
    tries: Sequence[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("message.send", lambda: mallory.send(MATCH, "let me in", "x1")),
        ("message.send to no match", lambda: mallory.send("nowhere", "hello?", "x2")),
        ("history", lambda: mallory.history(MATCH)),
        ("sync", lambda: mallory.sync(cursors)),
        ("matches", mallory.matches),
        ("receipt", lambda: mallory.receipt(MATCH, read=1)),
        ("presence.watch", lambda: mallory.watch("alice", "bob")),
        ("a second hello with cursors", lambda: mallory.hello(cursors)),
    ]
    leaks = [what for what, attempt in tries if await _leaks(attempt)]
    mallory.typing(MATCH)
    await mallory.ping()
    return _check(f"{len(tries) + 1} requests on the socket by a stranger", leaks)


async def _over_http(node: Node) -> Check:
    """With a user's token, which is a good one."""
    own = node.api(token("mallory"))
    path = f"/v1/matches/{MATCH}"
    message = {"client_id": "x", "body": {"text": "let me in"}}
    tries: list[tuple[str, str, object]] = [
        ("GET", path, None),
        ("PUT", path, {"members": ["mallory", "alice"]}),
        ("DELETE", path, None),
        ("GET", f"{path}/messages", None),
        ("POST", f"{path}/messages", message),
        ("POST", f"{path}/messages", {**message, "sender": "alice"}),
        ("GET", "/v1/users/alice/matches", None),
        ("POST", "/v1/users/alice/events", {"name": "x", "data": {}}),
        ("POST", "/v1/tokens", {"user": "alice"}),
        ("POST", "/v1/tickets", {"user": "alice"}),
        ("PUT", "/v1/matches/new", {"members": ["mallory", "alice"]}),
    ]
    leaks = []
    for method, target, body in tries:
        try:
            await own.call(method, target, body)
            leaks.append(f"{method} {target}")
        except ApiError as error:
            leaks += [] if error.status in (401, 403, 404) else [f"{method} {target}: {error.status}"]
    own.close()
    return _check(f"{len(tries)} requests over HTTP by a stranger", leaks)


async def _by_listening(mallory: Client, alice: Client) -> Check:
    await alice.send(MATCH, "another one", "c2")
    await mallory.ping()
    heard = [push for _, push in mallory.pushes if getattr(push, "match", None) == MATCH]
    return Check(f"of what is said meanwhile, {len(heard)} pushes reach the stranger", not heard)


async def _forged(node: Node) -> Check:
    """Tokens of alice that nobody signed, or not for now."""
    good = token("alice")
    head, claims, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    other_claims = token("mallory").split(".")[1]
    forged = {
        "no signature, alg none": f"{none}.{claims}.",
        "signature cut off": f"{head}.{claims}.",
        "another's signature": f"{head}.{claims}.{token('mallory').split('.')[2]}",
        "another's claims": f"{head}.{other_claims}.{signature}",
        "another secret": sign_token("alice", TOKEN_SECRET[::-1], int(time.time()) + 60),
        "expired": token("alice", ttl_s=-60),
        "for a hundred years": token("alice", ttl_s=3_000_000_000),
        "not a token": "alice",
    }
    leaks = [what for what, text in forged.items() if not await _refused(node, text)]
    return _check(f"{len(forged)} forged or stale tokens", leaks)


async def _refused(node: Node, text: str) -> bool:
    client = await Client.connect(node.url, token=text)
    try:
        await client.hello()
    except Refused as refused:
        right = refused.code in (ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED)
        return right and await client.closed() in (CloseCode.TOKEN_INVALID, CloseCode.TOKEN_EXPIRED)
    except Closed as closed:
        return closed.code in (CloseCode.TOKEN_INVALID, CloseCode.TOKEN_EXPIRED)
    return False


async def _removed(node: Node, alice: Client) -> list[Check]:
    """Take bob out while he is connected."""
    bob = await node.arrive("bob")
    api = node.api()
    await api.put_match(MATCH, ["alice", "carol"])
    api.close()
    await bob.next(MatchLeft)
    later = await alice.send(MATCH, "now that he is gone", "c3")
    denied = await _leaks(lambda: bob.send(MATCH, "I am still here", "x3")) is False
    page = await bob.history(MATCH)
    known = max(entry.seq for entry in page.messages)
    await bob.ping()
    heard = [push for _, push in bob.pushes if _entry_of(push) and getattr(push, "seq", 0) >= later.seq]
    return [
        Check("a removed member is told, and can write no more", denied),
        Check(
            f"he reads up to his end ({known}) and nothing of what came after ({later.seq})",
            known < later.seq and not heard,
        ),
    ]


async def _leaks(attempt: Callable[[], Awaitable[object]]) -> bool:
    """Tell whether an attempt was answered with anything of the match."""
    try:
        answer = await attempt()
    except Refused:
        return False
    text = repr(answer)
    return MATCH in text or "alice" in text or "for bob" in text


def _noticed(members: Sequence[Client]) -> int:
    """Count what mallory made appear at the members."""
    return sum("mallory" in repr(push) for client in members for _, push in client.pushes)


def _entry_of(push: Push | object) -> bool:
    return isinstance(push, Message | MembersChanged) and push.match == MATCH


def _check(what: str, leaks: list[str]) -> Check:
    return Check(f"{what}: {len(leaks)} got through{': ' + ', '.join(leaks) if leaks else ''}", not leaks)


CLAIM = Claim(
    "P9",
    "Nobody in who does not belong",
    "Only members read, write and see a match, from when they joined to when they left; tokens cannot be forged.",
    "A stranger with a good token tried every operation on a match of two; forged tokens were shown; a member was removed.",
    run,
)
