"""Ended sessions and signed-out users, on the real server: at once, for good, and after a restart."""

from pathlib import Path

import pytest

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from tests.support.api import Api, Reply
from tests.support.people import People, code_of, fresh, people_on
from tests.support.private_server import PrivateServer, private_server


def sessions_of(api: Api, user: str) -> list[dict[str, object]]:
    reply = api.call("GET", f"/v1/users/{user}/sessions")
    assert reply.status == 200, reply
    found = reply.json["sessions"]
    assert isinstance(found, list)
    return found


def end(api: Api, user: str, session: str = "") -> Reply:
    return api.call("DELETE", f"/v1/users/{user}/sessions" + (f"/{session}" if session else ""))


@pytest.fixture
def api(server: PrivateServer) -> Api:
    return Api(server.port)


async def refused(people: People, token: str) -> ErrorCode:
    """Say hello with a token that is not taken."""
    client = people.leaves(await Client.connect(people.server.ws_url, token=token))
    with pytest.raises(Refused) as problem:
        await client.hello()
    assert await client.closed() == 4501
    return code_of(problem.value)


async def test_a_users_sessions_are_listed(people: People, api: Api) -> None:
    (alice,) = people.users("alice")
    assert sessions_of(api, alice) == []
    phone, laptop = await people.come(alice, device="phone"), await people.come(alice)
    assert phone.welcome is not None
    assert laptop.welcome is not None
    first, second = sessions_of(api, alice)
    assert (first["session"], first["device"]) == (phone.welcome.session, "phone")
    assert (second["session"], second["device"]) == (laptop.welcome.session, None)
    assert isinstance(first["connected_at"], int)
    assert first["connected_at"] <= second["connected_at"]  # type: ignore[operator]
    assert first["node"] == second["node"] != ""
    assert sessions_of(api.as_(api.token(alice)), alice) == [first, second]


async def test_signing_out_closes_everything_and_refuses_the_tokens(people: People, api: Api) -> None:
    (alice, bob) = people.users("alice", "bob")
    token = api.token(alice)
    clients = [await people.come(alice), await people.come(alice)]
    other = await people.come(bob)
    assert end(api, alice).status == 204
    assert [await client.closed() for client in clients] == [4501, 4501]
    await other.ping()
    assert await refused(people, token) is ErrorCode.TOKEN_INVALID
    assert api.as_(token).call("GET", f"/v1/users/{alice}/matches").code == "token_invalid"
    assert api.as_(token).call("POST", "/v1/tickets", {}).code == "token_invalid"
    # Signed in again: at once.
    await people.come(alice)
    assert len(sessions_of(api, alice)) == 1


async def test_a_ticket_of_before_is_refused(people: People, api: Api) -> None:
    (alice,) = people.users("alice")
    ticket = str(api.as_(api.token(alice)).call("POST", "/v1/tickets", {}).json["ticket"])
    keys = str(api.call("POST", "/v1/tickets", {"user": alice}).json["ticket"])
    assert end(api, alice).status == 204
    for each in (ticket, keys):
        client = people.leaves(await Client.connect(people.server.ws_url, ticket=each))
        with pytest.raises(Refused):
            await client.hello()


async def test_one_session_is_ended_by_its_user(people: People, api: Api) -> None:
    (alice,) = people.users("alice")
    token = api.token(alice)
    lost = people.leaves(await Client.connect(people.server.ws_url, token=token))
    welcome = await lost.hello(device="lost phone")
    kept = await people.come(alice)
    mine = api.as_(api.token(alice))
    assert end(mine, alice, welcome.session).status == 204
    assert await lost.closed() == 4501
    await kept.ping()
    assert await refused(people, token) is ErrorCode.TOKEN_INVALID
    assert [session["device"] for session in sessions_of(mine, alice)] == [None]
    assert end(mine, alice, welcome.session).code == "not_found"


async def test_others_sessions_are_nobodys_business(people: People, api: Api) -> None:
    alice, bob = people.users("alice", "bob")
    client = await people.come(alice)
    assert client.welcome is not None
    bobs = api.as_(api.token(bob))
    assert bobs.call("GET", f"/v1/users/{alice}/sessions").code == "forbidden"
    assert end(bobs, alice).code == "forbidden"
    assert end(bobs, alice, client.welcome.session).code == "forbidden"
    assert end(bobs, bob, client.welcome.session).code == "not_found"
    await client.ping()


def test_ids_are_only_text(api: Api) -> None:
    for user in ("a%2Fb", "%E2%98%83", "a%3Ab%2A"):
        assert end(api, user).status == 204
        assert end(api, user, "%2F").code == "not_found"
    assert end(api, "a%00b").code == "bad_request"
    assert end(api, "alice", "x" * 65).code == "bad_request"


async def test_what_was_revoked_stays_revoked_after_a_restart(tmp_path: Path) -> None:
    database = tmp_path / "duologue.db"
    user = fresh("alice")
    with private_server(database) as server:
        api = Api(server.port)
        all_of_them, its_own = api.token(user), api.token(fresh("bob"))
        async with people_on(server) as people:
            client = people.leaves(await Client.connect(server.ws_url, token=its_own))
            welcome = await client.hello()
            assert end(api, user).status == 204
            assert end(api, welcome.user, welcome.session).status == 204
        server.program.kill()
    with private_server(database) as server:
        async with people_on(server) as people:
            assert await refused(people, all_of_them) is ErrorCode.TOKEN_INVALID
            assert await refused(people, its_own) is ErrorCode.TOKEN_INVALID
            await people.come(user)
