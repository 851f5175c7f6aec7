"""Who you are: every way to hand a credential over, everything that is refused, and what each credential may do."""

import time
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest

from loadtest.api import Api, ApiError, MintedToken
from loadtest.client import Client, Closed, Refused, decode_ok, decode_welcome
from loadtest.tokens import sign_token
from protocol.errors import ErrorCode
from protocol.from_client import Body, Hello, History, Matches, MessageSend, PresenceWatch, Receipt, Sync, Typing
from protocol.from_server import Message
from protocol.ids import ClientId, MatchId, SessionId, UserId
from tests.support.people import BEFORE_ALL, People, came, everything_that_came, fresh, people_on, say
from tests.support.private_server import PrivateServer, private_server
from tests.support.tokens import sign

API_KEY = "test-only-key-2b9d4c71e8f35a60d7c8b9a0f1e2d3c4"
SECRET = "test-only-hs256-71c4e9a2b86d4f03958e1d7c2a4b6f80"
HOUR_S = 3600


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server as in production, with three connections a user."""
    with private_server(
        dev=False, API_KEYS=API_KEY, TOKEN_SECRETS=SECRET, MAX_CONNECTIONS_PER_USER="3", LOG_LEVEL="debug"
    ) as server:
        yield server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    """People whose backend has an API key; afterwards nothing of a credential is in the log."""
    async with people_on(server, key=API_KEY) as people:
        yield people
    printed = server.program.output()
    assert "Traceback" not in printed
    assert "eyJ" not in printed
    assert API_KEY not in printed


def token_of(user: str, ttl_s: float = HOUR_S) -> str:
    """Sign a token as the app's backend would."""
    return sign_token(user, SECRET, int(time.time() + ttl_s))


async def refused_hello(people: People, token: str | None = None, ticket: str | None = None) -> tuple[ErrorCode, int]:
    """Say hello with a bad credential; return the error's code and the close code."""
    client = people.leaves(await Client.connect(people.server.ws_url))
    with pytest.raises(Refused) as refused:
        await client.request(Hello(client.next_id(), token=token, ticket=ticket), decode_welcome)
    return refused.value.code, await client.closed()


# ---- ways in


async def test_a_token_may_be_in_hello(people: People) -> None:
    """Signed by the backend itself, or minted by the server for it."""
    (alice,) = people.users("alice")
    for token in (token_of(alice), await people.api.token(alice)):
        client = people.leaves(await Client.connect(people.server.ws_url, token=token))
        assert (await client.hello()).user == alice


async def test_a_token_may_be_in_the_header(people: People) -> None:
    """The hello says the rest."""
    (alice,) = people.users("alice")
    client = people.leaves(
        await Client.connect(people.server.ws_url, headers={"Authorization": f"Bearer {token_of(alice)}"})
    )
    assert (await client.hello()).user == alice


@pytest.mark.parametrize("place", ["address", "hello"])
async def test_a_ticket_lets_in_once(people: People, place: str) -> None:
    """In the address or in `hello`; it is told to live 30 s, and is dead after its first use."""
    (alice,) = people.users("alice")
    answer = await people.api.call("POST", "/v1/tickets", {"user": alice})
    assert msgspec.json.decode(answer.body)["expires_in_s"] == 30
    ticket = msgspec.json.decode(answer.body)["ticket"]
    if place == "address":
        client = people.leaves(await Client.connect(people.server.ws_url, ticket=ticket))
        assert (await client.hello()).user == alice
    else:
        client = people.leaves(await Client.connect(people.server.ws_url))
        assert (await client.request(Hello(1, ticket=ticket), decode_welcome)).user == alice
    assert await refused_hello(people, ticket=ticket) == (ErrorCode.TICKET_INVALID, 4501)
    assert client.is_open


async def test_a_user_gets_a_ticket_for_themselves(people: People) -> None:
    """Which ends when the token does."""
    (alice,) = people.users("alice")
    ticket = msgspec.json.decode((await people.as_user(token_of(alice)).call("POST", "/v1/tickets", {})).body)["ticket"]
    client = people.leaves(await Client.connect(people.server.ws_url, ticket=ticket))
    assert (await client.hello()).user == alice


async def test_the_credential_in_hello_wins(people: People) -> None:
    """Over the upgrade's."""
    alice, bob = people.users("alice", "bob")
    headers = {"Authorization": f"Bearer {token_of(bob)}"}
    client = people.leaves(await Client.connect(people.server.ws_url, token=token_of(alice), headers=headers))
    assert (await client.hello()).user == alice


# ---- refused


BAD_TOKENS: dict[str, tuple[Callable[[], str], ErrorCode | None, int]] = {
    "expired": (lambda: token_of("alice", -10), ErrorCode.TOKEN_EXPIRED, 4001),
    "of another secret": (lambda: sign_token("alice", "x" + SECRET, int(time.time()) + 60), None, 4501),
    "unsigned": (lambda: sign({"sub": "alice", "exp": time.time() + 60}, SECRET, header={"alg": "none"}), None, 4501),
    "without a user": (lambda: sign({"exp": time.time() + 60}, SECRET), None, 4501),
    "without an end": (lambda: sign({"sub": "alice"}, SECRET), None, 4501),
    "for ever": (lambda: sign({"sub": "alice", "exp": time.time() + 10**8}, SECRET), None, 4501),
    "not yet": (lambda: sign({"sub": "alice", "exp": time.time() + 60, "nbf": time.time() + 30}, SECRET), None, 4501),
    "with a user of line ends": (lambda: sign({"sub": "a\nb", "exp": time.time() + 60}, SECRET), None, 4501),
    "an API key": (lambda: API_KEY, None, 4501),
    "nonsense": (lambda: "nonsense", None, 4501),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_is_refused(people: People, kind: str) -> None:
    """An error that says which kind, then a close that says whether to come back; over HTTP 401."""
    make, code, close_code = BAD_TOKENS[kind]
    expected = code or ErrorCode.TOKEN_INVALID
    assert await refused_hello(people, token=make()) == (expected, close_code)
    if kind != "an API key":
        with pytest.raises(ApiError) as refused:
            await people.as_user(make()).call("GET", "/v1/users/alice/matches")
        assert (refused.value.status, refused.value.code) == (401, expected)


async def test_a_hello_without_credential_may_be_followed_by_one_with(people: People) -> None:
    """It is told what is missing, and the connection stays."""
    (alice,) = people.users("alice")
    client = people.leaves(await Client.connect(people.server.ws_url))
    with pytest.raises(Refused) as refused:
        await client.hello()
    assert refused.value.code is ErrorCode.UNAUTHENTICATED
    welcome = await client.request(Hello(client.next_id(), token=token_of(alice)), decode_welcome)
    assert welcome.user == alice


async def test_before_hello_only_ping_is_answered(people: People) -> None:
    """Everything else is `unauthenticated`, also with a good token in the header."""
    _, bob = people.users("alice", "bob")
    headers = {"Authorization": f"Bearer {token_of(bob)}"}
    client = people.leaves(await Client.connect(people.server.ws_url, headers=headers))
    match = await people.match(*people.users("carol"), bob)
    await client.ping()
    for request in (
        Matches("a"),
        MessageSend("b", match, ClientId("c"), Body("x")),
        History("c", match),
        Sync("d", {match: BEFORE_ALL}),
        Receipt(match, None, None, "e"),
        Typing(match, True, "f"),
        PresenceWatch("g", (bob,)),
    ):
        with pytest.raises(Refused) as refused:
            await client.request(request, decode_ok)
        assert refused.value.code is ErrorCode.UNAUTHENTICATED
    assert (await client.hello()).user == bob


async def test_one_hello_a_connection(people: People) -> None:
    """The second is refused and changes nothing."""
    alice, bob = people.users("alice", "bob")
    client = await people.come(alice)
    with pytest.raises(Refused) as refused:
        await client.request(Hello("again", token=token_of(bob)), decode_welcome)
    assert refused.value.code is ErrorCode.ALREADY_AUTHENTICATED
    assert (await client.ping()).id


# ---- refresh


async def test_another_users_token_does_not_refresh(people: People) -> None:
    """Nor a bad one; the connection stays what it was."""
    alice, bob = people.users("alice", "bob")
    client = await people.come(alice)
    match = await people.match(alice, bob)
    for token, code in (
        (token_of(bob), ErrorCode.TOKEN_INVALID),
        ("nonsense", ErrorCode.TOKEN_INVALID),
        (token_of(alice, -10), ErrorCode.TOKEN_EXPIRED),
    ):
        with pytest.raises(Refused) as refused:
            await client.refresh(token)
        assert refused.value.code is code
    await client.refresh(token_of(alice))
    await say(client, match, "still me")
    assert isinstance((await client.history(match)).messages[0], Message)


# ---- sessions and devices


async def test_a_hello_that_names_a_live_session_takes_it_over(people: People) -> None:
    """The old connection is closed with 4500, which does not come back."""
    (alice,) = people.users("alice")
    old = await people.come(alice, device="phone")
    assert old.welcome is not None
    new = await people.come(alice, device="phone", session=old.welcome.session)
    assert await old.closed() == 4500
    assert new.welcome is not None
    assert new.welcome.session != old.welcome.session
    await new.ping()


async def test_the_same_device_without_session_is_another_connection(people: People) -> None:
    """Both live."""
    (alice,) = people.users("alice")
    clients = [await people.come(alice, device="phone") for _ in range(2)]
    for client in clients:
        await client.ping()


async def test_nobody_takes_over_another_users_session(people: People) -> None:
    """Nor does a session that is over, or never was, harm anybody."""
    alice, bob = people.users("alice", "bob")
    hers = await people.come(alice)
    assert hers.welcome is not None
    await people.come(bob, session=hers.welcome.session)
    await people.come(bob, session=SessionId("never-was"))
    await hers.ping()


async def test_a_user_has_so_many_connections_and_no_more(people: People) -> None:
    """One more is closed with 4503; a take-over is not one more; who leaves makes room; others are not concerned."""
    alice, bob = people.users("alice", "bob")
    clients = [await people.come(alice) for _ in range(3)]
    one_more = await people.visitor(alice)
    with pytest.raises(Closed) as closed:
        await one_more.hello()
    assert closed.value.code == 4503
    assert clients[0].welcome is not None
    await people.come(alice, session=clients[0].welcome.session)
    assert await clients[0].closed() == 4500
    await people.come(bob)
    await clients[1].close()
    await people.come(alice)


# ---- the HTTP API: a backend and a user


async def test_a_user_may_do_over_http_what_a_member_may(people: People) -> None:
    """Read the own matches and their logs, write in them as themselves."""
    alice, bob = people.users("alice", "bob")
    match = await people.match(alice, bob)
    client, user = await people.come(bob), people.as_user(token_of(alice))
    posted = await user.call("POST", f"/v1/matches/{match}/messages", {"client_id": "c1", "body": {"text": "hi"}})
    assert posted.status == 201
    (message,) = await came(client, Message)
    assert message.sender == alice
    again = await user.call("POST", f"/v1/matches/{match}/messages", {"client_id": "c1", "body": {"text": "hi"}})
    assert again.status == 200
    assert (await user.match(match)).last_seq == 2
    assert len(await user.log(match)) == 2
    assert (await user.call("GET", f"/v1/users/{alice}/matches")).status == 200


@pytest.mark.parametrize(
    "method, target, body",
    [
        ("POST", "/v1/tokens", {"user": "{bob}"}),
        ("POST", "/v1/tickets", {"user": "{bob}"}),
        ("PUT", "/v1/matches/{match}", {"members": ["{bob}", "{alice}"]}),
        ("DELETE", "/v1/matches/{match}", None),
        ("GET", "/v1/users/{bob}/matches", None),
        ("POST", "/v1/matches/{match}/messages", {"sender": "{bob}", "client_id": "c1", "body": {"text": "hi"}}),
        ("POST", "/v1/users/{alice}/events", {"name": "n", "data": {}}),
        ("POST", "/v1/users/{bob}/events", {"name": "n", "data": {}}),
    ],
)
async def test_what_is_the_backends_or_another_users_is_forbidden(
    people: People, method: str, target: str, body: object
) -> None:
    """403, and nothing happens."""
    alice, bob = people.users("alice", "bob")
    match = await people.match(alice, bob)
    watching = await people.come(bob)
    names = {"{alice}": alice, "{bob}": bob, "{match}": match}

    def named(text: str) -> str:
        for place, name in names.items():
            text = text.replace(place, name)
        return text

    request = None if body is None else msgspec.json.decode(named(msgspec.json.encode(body).decode()))
    with pytest.raises(ApiError) as refused:
        await people.as_user(token_of(alice)).call(method, named(target), request)
    assert (refused.value.status, refused.value.code) == (403, ErrorCode.FORBIDDEN)
    assert await everything_that_came(watching) == []
    assert (await people.api.match(match)).last_seq == 1


@pytest.mark.parametrize("key", ["", "wrong-key", API_KEY[:-1], API_KEY + "x"])
async def test_without_a_good_key_the_api_is_closed(people: People, key: str) -> None:
    """401, and the answer says what it wants."""
    api = people.as_user(key)
    for method, target in (("POST", "/v1/tokens"), ("GET", "/v1/matches/m"), ("DELETE", "/v1/matches/m")):
        answer = await api.exchange(method, target)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_minted_token_tells_its_user_and_end(people: People) -> None:
    """In microseconds; the lifetime is the backend's choice up to the node's limit."""
    (alice,) = people.users("alice")
    before = time.time()
    minted = (await people.api.call("POST", "/v1/tokens", {"user": alice, "ttl_s": 90})).read(MintedToken)
    assert minted.user == alice
    assert before + 88 <= minted.expires_at / 1_000_000 <= time.time() + 90
    with pytest.raises(ApiError) as refused:
        await people.api.token(alice, ttl_s=10**7)
    assert refused.value.code == ErrorCode.BAD_REQUEST


async def test_development_help_is_there_in_development_only(people: People, common_server: PrivateServer) -> None:
    """Where it also tells the key."""
    assert (await people.api.exchange("GET", "/v1/dev")).status == 404
    helpful = people.leaves_api(Api(common_server.http_url, ""))
    answer = await helpful.exchange("GET", "/v1/dev")
    assert msgspec.json.decode(answer.body) == {"dev": True, "api_key": "dev"}


async def test_an_id_may_hold_anything_but_control_characters(people: People) -> None:
    """Slashes, spaces, umlauts, emoji: in the path they are percent-encoded."""
    alice, bob = UserId(fresh("Ä/ü ?&#%")), UserId(fresh("بوب 👩‍🎓"))
    match = MatchId(fresh("a/b c%2F"))
    await people.api.put_match(match, [alice, bob])
    client = people.leaves(await Client.connect(people.server.ws_url, token=token_of(alice)))
    welcome = await client.hello()
    assert welcome.user == alice
    await client.send(match, "hi", "c1")
    assert len(await people.as_user(token_of(bob)).log(match)) == 2
    assert await everything_that_came(client) == []
