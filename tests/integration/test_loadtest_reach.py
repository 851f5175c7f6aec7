"""The load tester on ways that are not plain: agents of their own, encrypted connections, media through a relay."""

import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from loadtest.coordinator import conduct
from loadtest.relay import relays
from loadtest.result import Result
from loadtest.scenario import Media
from loadtest.team import READY, TOKEN_VARIABLE
from tests.support.load_runs import PAIRS, plan, scenario
from tests.support.people import unlimited_server
from tests.support.private_redis import make_certificate
from tests.support.private_server import PrivateServer, inherited
from tests.support.programs import free_port, running
from tests.support.reverse_proxy import reverse_proxy

TOKEN = "known-to-both-sides"


def judged(result: Result) -> str:
    """Return what a failed assertion should show."""
    return f"{result.broken} {result.counts} {result.notes} {result.report.findings}"


@contextmanager
def agents(number: int) -> Iterator[list[str]]:
    """Run agents as on other machines; yield where they listen."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(number)]
        for port in ports:
            argv = [sys.executable, "-m", "loadtest", "agent", "--port", str(port)]
            environment = {**inherited(), TOKEN_VARIABLE: TOKEN}
            stack.enter_context(running(argv, ready=f"{READY}{port}", environment=environment))
        yield [f"127.0.0.1:{port}" for port in ports]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server in memory."""
    with unlimited_server() as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate of localhost and its key."""
    return make_certificate(tmp_path_factory.mktemp("loadtest-tls"))


async def test_two_agents_make_load_over_tls(server: PrivateServer, certificate: tuple[Path, Path]) -> None:
    """The certificate goes with the job; what both measured is one result. Agents take the next run, too."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*certificate)
    with agents(2) as where:
        async with reverse_proxy(server.port, tls) as proxy:
            short = plan(proxy.port, PAIRS, users=8, duration_s=1.5, rate_per_s=20.0)
            urls = {"ws_url": f"wss://localhost:{proxy.port}/ws", "api_url": f"https://localhost:{proxy.port}"}
            access = replace(short.access, **urls, authority=certificate[0].read_text())
            result = await conduct(replace(short, access=access, agents=where, agent_token=TOKEN))
            assert not result.broken, judged(result)
            assert (result.agents, result.devices) == (2, 8)
            assert result.report.acked == result.counts["acked"] > 10
            assert result.times["delivery"].count > 10
            unknown = replace(short, access=replace(short.access, **urls), agents=where, agent_token=TOKEN)
            with pytest.raises(ssl.SSLCertVerificationError):
                await conduct(unknown)


async def test_calls_with_media_are_seen_and_timed(server: PrivateServer) -> None:
    """Through a coturn that the load tester starts; both sides hear and see, and the call ends for both."""
    calling = structs.replace(
        scenario("media"), media=Media(calls=1, call_s=1.0, pause_s=60.0, within_s=90.0), people=PAIRS.people
    )
    with relays("coturn", "", 600.0) as turn:
        result = await conduct(
            replace(plan(server.port, calling, users=4, duration_s=3.0, rate_per_s=2.0), relays=turn)
        )
    assert not result.broken, judged(result)
    assert result.counts["calls with media"] == 1
    assert result.times["first frame"].count == 2
    assert result.counts["call media: pictures seen"] > 1
    assert result.counts["call media: sound frames heard"] > 1
    assert result.counts["call media: route relay-relay"] == 2


async def test_a_call_without_a_picture_is_a_broken_promise(server: PrivateServer) -> None:
    """Here as nobody relays at the address that was given."""
    calling = structs.replace(
        scenario("media"), media=Media(calls=1, call_s=1.0, pause_s=60.0, within_s=0.5), people=PAIRS.people
    )
    with relays(f"turn:127.0.0.1:{free_port()}?transport=tcp", "a-secret-of-nobody-3f9a", 600.0) as turn:
        result = await conduct(
            replace(plan(server.port, calling, users=4, duration_s=1.0, rate_per_s=2.0), relays=turn)
        )
    assert set(result.broken) == {"calls without sound or pictures"}, judged(result)
    assert result.verdict == "FAIL"
