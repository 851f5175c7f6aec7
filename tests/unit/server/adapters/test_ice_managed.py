"""ICE servers of a provider: asked once, kept, done without. The provider is a double: documented, never seen live."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from protocol.ids import UserId
from server.adapters.http_post import ANSWER_MAX_BYTES
from server.adapters.ice_managed import ManagedSource, Provider
from server.core.breaker import BreakerPolicy, BreakerState
from tests.support.clock import FakeClock
from tests.support.programs import free_port
from tests.support.provider_double import (
    CLOUDFLARE,
    CLOUDFLARE_KEY,
    TOKEN,
    TWILIO_SID,
    ProviderDouble,
    provider_double,
)
from turn.managed import CloudflareKey, TwilioAccount
from turn.servers import IceServer

ALICE, BOB = UserId("alice"), UserId("bob")
STUN = (IceServer(("stun:s:3478",)),)
ACCOUNT = TwilioAccount(TWILIO_SID, TOKEN)
HALF_S = 14_400


@pytest.fixture
def double() -> Iterator[ProviderDouble]:
    with provider_double() as running:
        yield running


class Asking:
    """A source at the double, with a clock that stands still."""

    def __init__(self, double: ProviderDouble, limit_s: float = 30.0, failures: int = 100) -> None:
        self.clock = FakeClock()
        self.source = ManagedSource(
            Provider(ACCOUNT, STUN, double.url, limit_s), self.clock.now, BreakerPolicy(failures, 5.0, 60.0)
        )

    async def __call__(self, user: UserId = ALICE) -> tuple[str, bool]:
        """Ask for a user's list; return the last address in it, and whether it is degraded."""
        found = await self.source.servers(user, self.clock.micros())
        return found.servers[-1].urls[0].split("?")[0], found.is_degraded


GOOD = ("turn:global.turn.example.org:443", False)
WITHOUT = ("stun:s:3478", True)


async def test_a_list_is_asked_for_once_in_half_its_life(double: ProviderDouble) -> None:
    ask = Asking(double)
    assert ask.source.has_relay
    assert await ask() == GOOD
    ask.clock.advance(HALF_S - 1)
    assert await ask() == GOOD
    assert len(double.requests) == 1
    ask.clock.advance(1)
    assert await ask() == GOOD
    assert len(double.requests) == 2
    await ask.source.close()


async def test_cloudflare_is_asked_with_its_key(double: ProviderDouble) -> None:
    clock = FakeClock()
    double.body = CLOUDFLARE
    source = ManagedSource(Provider(CloudflareKey(CLOUDFLARE_KEY, TOKEN), (), double.url), clock.now)
    found = await source.servers(ALICE, clock.micros())
    assert found.servers[-1].urls == ("turns:turn.example.com:443?transport=tcp",)
    assert found.expires_at == clock.micros() + 28_800_000_000
    path, authorization, body = double.requests[0]
    assert path == f"/v1/turn/keys/{CLOUDFLARE_KEY}/credentials/generate-ice-servers"
    assert (authorization, body) == (f"Bearer {TOKEN}", b'{"ttl":28800}')
    await source.close()


async def test_who_asks_meanwhile_shares_the_answer(double: ProviderDouble) -> None:
    """…also when whoever asked first has gone, and then without a relay."""
    ask, asked, go = Asking(double), threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go.wait(30)

    double.before = wait
    first = asyncio.gather(ask(), ask(), ask())
    await asyncio.to_thread(asked.wait, 30)
    go.set()
    assert list(await first) == [GOOD] * 3
    assert len(double.requests) == 1
    asked.clear()
    go.clear()
    leader, follower = asyncio.create_task(ask(BOB)), asyncio.create_task(ask(BOB))
    await asyncio.to_thread(asked.wait, 30)
    leader.cancel()
    assert await follower == WITHOUT
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await leader
    await ask.source.close()


@pytest.mark.parametrize("status", [302, 401, 404, 429, 500, 503])
async def test_what_is_no_list_is_done_without(
    status: int, double: ProviderDouble, caplog: pytest.LogCaptureFixture
) -> None:
    ask = Asking(double)
    double.status, double.headers = status, {"Location": f"{double.url}/elsewhere"}
    assert await ask() == WITHOUT
    assert len(double.requests) == 1
    (line,) = caplog.records
    assert line.message == "turn.provider_failed"
    assert str(status) in line.fields["reason"]  # type: ignore[attr-defined]
    assert "planted" not in str(line.__dict__)
    await ask.source.close()


@pytest.mark.parametrize("body", [b"", b"planted nonsense", b"{}", b'{"ice_servers":[]}'])
async def test_nonsense_is_done_without(body: bytes, double: ProviderDouble, caplog: pytest.LogCaptureFixture) -> None:
    ask = Asking(double)
    double.body = body
    assert await ask() == WITHOUT
    assert "planted" not in str([record.__dict__ for record in caplog.records])
    await ask.source.close()


async def test_an_answer_without_end_is_cut(double: ProviderDouble, caplog: pytest.LogCaptureFixture) -> None:
    ask = Asking(double)
    double.body = b" " * (ANSWER_MAX_BYTES * 4)
    assert await ask() == WITHOUT
    assert "larger than 65536 bytes" in str(caplog.records[0].__dict__)
    await ask.source.close()


async def test_silence_ends_by_the_time_limit(double: ProviderDouble, caplog: pytest.LogCaptureFixture) -> None:
    ask = Asking(double, limit_s=0.2)
    double.before = lambda: double.ended.wait(30)
    assert await ask() == WITHOUT
    assert "no answer within 0.2 s" in str(caplog.records[0].__dict__)
    double.ended.set()
    await ask.source.close()


async def test_bytes_that_drip_are_given_up(double: ProviderDouble) -> None:
    """Each byte comes in time, the whole does not; the thread that reads them is free again, too."""
    ask = Asking(double, limit_s=0.3)
    double.drip_s = 0.05
    assert await ask() == WITHOUT
    await ask.source.close()


async def test_a_slow_whole_is_given_up_by_the_thread_itself(double: ProviderDouble) -> None:
    ask = Asking(double)
    double.before = lambda: ask.clock.advance(31)
    assert await ask() == WITHOUT
    await ask.source.close()


async def test_nobody_there_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    ask = Asking(ProviderDouble(port=free_port()))
    assert await ask() == WITHOUT
    assert "refused" in str(caplog.records[0].__dict__)
    await ask.source.close()


async def test_no_http_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"planted, not HTTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        ask = Asking(ProviderDouble(port=server.sockets[0].getsockname()[1]))
        assert await ask() == WITHOUT
    assert "BadStatusLine" in str(caplog.records[0].__dict__)
    assert "planted" not in str(caplog.records[0].fields)  # type: ignore[attr-defined]
    await ask.source.close()


async def test_what_was_given_before_is_used_while_it_may_be(double: ProviderDouble) -> None:
    ask = Asking(double)
    assert await ask() == GOOD
    double.status = 503
    ask.clock.advance(2 * HALF_S - 600)
    assert await ask() == GOOD
    ask.clock.advance(1)
    assert await ask() == WITHOUT
    assert len(double.requests) == 3
    await ask.source.close()


async def test_a_provider_that_fails_is_left_alone_for_a_while(double: ProviderDouble) -> None:
    ask = Asking(double, failures=2)
    double.status = 503
    for _ in range(5):
        assert await ask() == WITHOUT
    assert len(double.requests) == 2
    assert ask.source.guard.state == BreakerState.OPEN.value
    double.status = 201
    ask.clock.advance(5)
    assert await ask() == GOOD
    assert ask.source.guard.state == BreakerState.CLOSED.value
    await ask.source.close()
