"""`python -m turn check` against Debian's coturn: what works is said to work, and what is wrong is told in words."""

import asyncio
import shlex
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import orjson
import pytest

from protocol.ids import Micros
from server.adapters.clock import SystemClock
from tests.support.lossy_network import lossy_network
from tests.support.own_network import is_possible, run_in_own_network
from tests.support.private_coturn import SECRET, PrivateCoturn, private_coturn
from tests.support.private_redis import make_certificate
from tests.support.private_server import inherited
from tests.support.programs import find_program, free_port
from tests.support.provider_double import TOKEN, TWILIO_SID, provider_double
from turn.configuration import RelayConfiguration
from turn.credentials import ephemeral
from turn.tool.allocation import Allocation
from turn.tool.check import Checker, Questions
from turn.tool.command import main
from turn.urls import parse_ice_url

HOUR_US = 3_600_000_000
OTHER = "another-3f9a1c7d5e2b4860"


def now() -> Micros:
    return SystemClock().micros()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("turn-tls"))


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[PrivateCoturn]:
    with private_coturn(tmp_path_factory.mktemp("coturn"), tls=certificate) as running:
        yield running


async def found(
    url: str,
    configuration: RelayConfiguration | None = None,
    *,
    micros: Callable[[], Micros] = now,
    trusts: Path | None = None,
    limit_s: float = 20.0,
) -> list[str]:
    """Check one address and return the report's lines."""
    said: list[str] = []
    tls = ssl.create_default_context(cafile=trusts)
    configuration = configuration or RelayConfiguration(turn_urls=(url,), secrets=(SECRET,))
    checker = Checker(
        Questions(configuration, micros, tls, limit_s), lambda level, text: said.append(f"{level}: {text}")
    )
    await checker.check(parse_ice_url(url))
    return said


def told(lines: list[str], part: str) -> str:
    """Return the one line that contains `part`."""
    (line,) = (each for each in lines if part in each)
    return line


@pytest.mark.parametrize("kind", ["udp", "tcp", "turns"])
async def test_relay_to_relay_works(kind: str, coturn: PrivateCoturn, certificate: tuple[Path, Path]) -> None:
    """…and coturn 4.6.1 as it comes is found to relay to where it must not."""
    url = {"udp": coturn.udp, "tcp": coturn.tcp, "turns": f"turns:localhost:{coturn.tls_port}"}[kind]
    lines = await found(url, trusts=certificate[0])
    assert lines[0].startswith("ok: relays from 127.0.0.1:")
    assert "ok: from relay to relay and back" in lines
    assert told(lines, "169.254.169.254").startswith("FAILED: relays to 169.254.169.254, the cloud's metadata")
    assert lines[-1] == "ok: refuses who has no credentials, or ended ones"


@pytest.mark.parametrize("kind", ["stun", "stuns"])
async def test_a_stun_server_tells_the_address(
    kind: str, coturn: PrivateCoturn, certificate: tuple[Path, Path]
) -> None:
    url = {"stun": f"stun:127.0.0.1:{coturn.port}", "stuns": f"stuns:localhost:{coturn.tls_port}"}[kind]
    (line,) = await found(url, trusts=certificate[0])
    assert line.startswith("ok: sees this machine at 127.0.0.1:")


async def test_a_stun_server_that_is_not_there() -> None:
    (line,) = await found(f"stuns:127.0.0.1:{free_port()}")
    assert "nothing listens at port" in line


async def test_a_wrong_secret_is_told_at_once(coturn: PrivateCoturn) -> None:
    (line,) = await found(coturn.udp, RelayConfiguration(turn_urls=(coturn.udp,), secrets=(OTHER,)))
    assert line == (
        "FAILED: the relay refuses the credentials (401): none of TURN_SECRETS is a secret of its"
        " (`use-auth-secret` with `static-auth-secret`)"
    )


async def test_a_new_secret_that_the_relay_does_not_know_yet(coturn: PrivateCoturn) -> None:
    (line,) = await found(coturn.udp, RelayConfiguration(turn_urls=(coturn.udp,), secrets=(OTHER, OTHER[::-1], SECRET)))
    assert "it knows number 3 of TURN_SECRETS, not number 1" in line


async def test_a_clock_that_is_behind(coturn: PrivateCoturn) -> None:
    (line,) = await found(coturn.udp, micros=lambda: Micros(now() - 2 * HOUR_US))
    assert "to its clock they have ended already" in line


async def test_a_clock_that_is_ahead(coturn: PrivateCoturn) -> None:
    lines = await found(coturn.udp, micros=lambda: Micros(now() + HOUR_US))
    assert lines[-1].startswith("warning: accepts credentials that ended 60 s ago")


async def test_a_password_of_everybody(coturn: PrivateCoturn) -> None:
    good = ephemeral(SECRET, "everybody", Micros(now() + HOUR_US))
    lines = await found(
        coturn.udp, RelayConfiguration(turn_urls=(coturn.udp,), username=good.username, password=good.password)
    )
    assert "ok: from relay to relay and back" in lines
    (line,) = await found(coturn.udp, RelayConfiguration(turn_urls=(coturn.udp,), username="u", password="p"))
    assert "it does not know TURN_USERNAME with TURN_PASSWORD" in line


async def test_certificates_are_looked_at(coturn: PrivateCoturn, certificate: tuple[Path, Path]) -> None:
    (line,) = await found(f"turns:localhost:{coturn.tls_port}")
    assert line.startswith("FAILED: the certificate is not accepted: self-signed certificate")
    (line,) = await found(f"turns:127.0.0.1:{coturn.tls_port}", trusts=certificate[0])
    assert "IP address mismatch" in line


async def test_what_is_not_there(coturn: PrivateCoturn) -> None:
    (line,) = await found(f"turn:127.0.0.1:{free_port()}?transport=udp", limit_s=0.2)
    assert line.startswith("FAILED: no answer within 0.2 s")
    (line,) = await found("turn:nowhere.invalid")
    assert line == "FAILED: the name nowhere.invalid cannot be resolved"


async def test_a_port_without_tls(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.example ready\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        (line,) = await found(f"turns:127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert line.startswith("FAILED: no TLS at this port")


async def test_a_relay_that_refuses_itself(tmp_path: Path) -> None:
    with private_coturn(tmp_path, peers=()) as strict:
        lines = await found(strict.udp)
    assert "add `allowed-peer-ip=127.0.0.1` (403)" in told(lines, "refuses itself")
    assert "127.0.0.1 (403)" in told(lines, "ok: refuses to relay to")


async def test_a_relay_that_asks_nobody(tmp_path: Path) -> None:
    with private_coturn(tmp_path, secret="") as open_to_all:
        lines = await found(open_to_all.udp)
    assert lines[-1] == "FAILED: lets everybody in without credentials: remove `no-auth`"


async def test_a_quota_of_one(tmp_path: Path) -> None:
    with private_coturn(tmp_path, "--user-quota=1") as small:
        lines = await found(small.udp)
    assert "raise `user-quota`" in told(lines, "quota")


@pytest.mark.parametrize("server, is_told", [("11.0.0.10", True), ("10.0.0.1", False), ("127.0.0.1", False)])
def test_a_private_address_is_only_wrong_seen_from_outside(server: str, *, is_told: bool) -> None:
    """The same as with a whole network below, for machines that give nobody one."""
    said: list[str] = []
    configuration = RelayConfiguration(turn_urls=("turn:t",), secrets=(SECRET,))
    questions = Questions(configuration, now, ssl.create_default_context(), 1.0)
    allocation = cast(Allocation, SimpleNamespace(relayed=("10.1.2.3", 50_000), server=server))
    Checker(questions, lambda _, text: said.append(text))._compare_addresses(allocation)
    assert bool(said) is is_told


def is_channel_data(data: bytes) -> bool:
    return data[0] & 0xC0 == 0x40


async def test_closed_relay_ports(coturn: PrivateCoturn) -> None:
    """A network that loses what is relayed looks like relay ports that are closed."""
    async with lossy_network(("127.0.0.1", coturn.port), is_channel_data) as port:
        lines = await found(f"turn:127.0.0.1:{port}", limit_s=2.0)
    assert told(lines, "nothing arrives").startswith("FAILED: from relay to relay nothing arrives: its relay ports")


async def test_a_relay_that_is_silent_about_a_peer(coturn: PrivateCoturn) -> None:
    metadata = bytes(each ^ mask for each, mask in zip((169, 254, 169, 254), b"\x21\x12\xa4\x42", strict=True))
    async with lossy_network(("127.0.0.1", coturn.port), lambda data: metadata in data) as port:
        lines = await found(f"turn:127.0.0.1:{port}", limit_s=2.0)
    assert told(lines, "169.254.169.254") == (
        "warning: gives no answer when asked to relay to 169.254.169.254; not asked any further"
    )


async def test_a_relay_that_dies_meanwhile(tmp_path: Path) -> None:
    with private_coturn(tmp_path) as coturn:
        said: list[str] = []

        def say(level: str, text: str) -> None:
            said.append(f"{level}: {text}")
            if "from relay to relay" in text:
                coturn.stop()

        configuration = RelayConfiguration(turn_urls=(coturn.udp,), secrets=(SECRET,))
        questions = Questions(configuration, now, ssl.create_default_context(), 2.0)
        await Checker(questions, say).check(parse_ice_url(coturn.udp))
    assert told(said, "127.0.0.1; not asked").startswith("warning: gives no answer when asked to relay to")
    assert said[-1] == "warning: gives no answer to who has no credentials, or ended ones"


def test_the_command_tells_and_counts(
    coturn: PrivateCoturn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {**coturn.settings, "STUN_SERVER_URL": f"stun:127.0.0.1:{coturn.port}"}.items():
        monkeypatch.setenv(name, text)
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"stun:127.0.0.1:{coturn.port}"
    assert coturn.udp in lines
    assert lines[-1] == f"{sum(line.startswith('  FAILED') for line in lines)} failed"
    assert SECRET not in "\n".join(lines)


def test_a_providers_relays_are_checked_with_what_it_gives(
    coturn: PrivateCoturn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider is a double: documented, never seen live; the relay that it names is a real one."""
    credential = ephemeral(SECRET, "of-a-provider", Micros(now() + HOUR_US))
    relay = {"urls": coturn.tcp, "username": credential.username, "credential": credential.password}
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", TWILIO_SID)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    with provider_double() as double:
        monkeypatch.setenv("TURN_API_URL", double.url)
        stun = {"urls": f"stun:127.0.0.1:{coturn.port}"}
        double.body = orjson.dumps({"ice_servers": [stun, relay], "ttl": "28800"})
        assert main(["check"]) == 1  # it relays to loopback, as the tests' coturn does
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == ["TwilioAccount", "  ok      gives 1 relays", f"stun:127.0.0.1:{coturn.port}"]
        assert "  ok      from relay to relay and back" in lines
        double.status = 401
        assert main(["check"]) == 1
        assert capsys.readouterr().out.splitlines()[1:] == ["  FAILED  the account is refused (401)", "1 failed"]
    assert main(["check", "--limit", "1"]) == 1
    out = capsys.readouterr().out
    assert "  FAILED  no answer: " in out
    assert TOKEN not in out


# ---- a coturn with the configuration that `config` writes, at an address of its own

needs_network = pytest.mark.skipif(not is_possible(), reason="this machine gives nobody a network namespace")


def check_configured(folder: Path, *options: str, listens: str, more: str = "") -> tuple[int, list[str]]:
    """Write a configuration, run coturn with it and `python -m turn check` against it; return exit code and report."""
    python, environment = shlex.quote(sys.executable), {
        **inherited(),
        "TURN_SECRETS": SECRET,
        "TURN_SERVER_URL": f"turn:{listens},turn:{listens}?transport=tcp,turns:{listens}",
        "STUN_SERVER_URL": f"stun:{listens}",
        "TURN_REALM": "calls.test",
    }  # fmt: skip
    coturn = (
        f"{find_program('turnserver')} -c {folder}/turnserver.conf --pidfile={folder}/pid --userdb={folder}/db {more}"
    )
    script = (
        f"{python} -m turn config {shlex.join(options)} > {folder}/turnserver.conf && "
        f"exec {python} -m tests.support.coturn_trial {folder} {listens} 3478 {coturn} -- {python} -m turn check --ca-file {folder}/localhost.crt"
    )
    addresses = sorted({listens, *(each for each in options if each.count(".") == 3)})
    ended = run_in_own_network(addresses, ["/bin/sh", "-c", script], environment)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


@needs_network
def test_what_config_writes_passes_the_check(tmp_path: Path) -> None:
    own = "192.0.2.10"
    certificate, key = make_certificate(tmp_path, own)
    exit_code, lines = check_configured(
        tmp_path, "--relay-ip", own, "--cert", str(certificate), "--key", str(key), listens=own
    )
    assert exit_code == 0, lines
    assert lines[-1] == "All is well."
    assert sum(line.endswith("from relay to relay and back") for line in lines) == 3
    refused = [line for line in lines if "refuses to relay to" in line]
    assert len(refused) == 3
    for host in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "224.0.0.1"):
        assert all(f"{host} (403)" in line for line in refused)


@needs_network
def test_what_config_writes_for_a_relay_behind_nat_passes(tmp_path: Path) -> None:
    """Two relayed parties meet at its outer address; its private network stays closed."""
    make_certificate(tmp_path)
    options = ("--relay-ip", "10.1.2.3", "--external-ip", "11.0.0.10")
    _, lines = check_configured(tmp_path, *options, listens="10.1.2.3")
    assert sum(line.startswith("  ok      relays from 11.0.0.10:") for line in lines) == 2
    assert sum(line.endswith("from relay to relay and back") for line in lines) == 2
    assert all("10.0.0.1 (403)" in line for line in lines if "refuses to relay to" in line)


@needs_network
def test_a_private_address_behind_nat_is_found(tmp_path: Path) -> None:
    """coturn is reached at a public address that it was not told of."""
    make_certificate(tmp_path)
    exit_code, lines = check_configured(
        tmp_path, "--relay-ip", "10.1.2.3", listens="11.0.0.10", more="--listening-ip=11.0.0.10"
    )
    assert exit_code == 1
    assert "  FAILED  it tells others its private address 10.1.2.3: set `external-ip`" in lines
    assert told(lines, "nothing listens").endswith("nothing listens at port 5349/tcp")
