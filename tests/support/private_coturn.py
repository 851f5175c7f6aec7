"""Debian's coturn for a test: loopback, ports of its own, credentials that end. It may only be asked to relay to loopback.

Ready when it answers a STUN request, which takes it less than a tenth of a second.
"""

import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.private_server import inherited
from tests.support.programs import ProgramError, find_program, free_port, start

HOST: Final = "127.0.0.1"
REALM: Final = "calls.test"
SECRET: Final = "a-secret-of-the-tests-3f9a1c7d5e2b"
READY_WITHIN_S: Final = 30.0
END_WITHIN_S: Final = 15.0
# Below those that `free_port` and the kernel give; a port that another coturn has is skipped.
FIRST_RELAY_PORT: Final = 10_000
RELAY_PORTS: Final = 40
STRETCHES: Final = 120
# Binding request, RFC 8489 section 5.
_BINDING_REQUEST: Final = b"\x00\x01\x00\x00\x21\x12\xa4\x42"


@dataclass(frozen=True)
class PrivateCoturn:
    """A running coturn that knows `secret`. `output` is what it logged so far."""

    port: int
    secret: str
    log: Path
    process: subprocess.Popen[bytes]
    tls_port: int | None = None

    @property
    def udp(self) -> str:
        return f"turn:{HOST}:{self.port}?transport=udp"

    @property
    def tcp(self) -> str:
        return f"turn:{HOST}:{self.port}?transport=tcp"

    @property
    def settings(self) -> dict[str, str]:
        """What makes a server hand this relay out."""
        return {"TURN_SERVER_URL": f"{self.udp},{self.tcp}", "TURN_SECRETS": self.secret}

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """End it at once, as a relay that dies: allocations are gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(END_WITHIN_S)


@contextmanager
def private_coturn(
    folder: Path,
    *options: str,
    secret: str = SECRET,
    tls: tuple[Path, Path] | None = None,
    peers: Sequence[str] = ("--allow-loopback-peers",),
    port: int | None = None,
) -> Iterator[PrivateCoturn]:
    """Run one until the block ends; without a secret it lets everybody in.

    `tls` is a certificate and its key, `options` are added to the command line. Give `port` again to have another one
    where a stopped one was.
    """
    port, tls_port = free_port() if port is None else port, free_port() if tls else None
    lowest = FIRST_RELAY_PORT + port % STRETCHES * RELAY_PORTS
    log = folder / f"coturn-{port}.log"
    argv = [
        *(find_program("turnserver"), "-n", f"--listening-ip={HOST}", f"--relay-ip={HOST}", f"--listening-port={port}"),
        *(f"--min-port={lowest}", f"--max-port={lowest + RELAY_PORTS - 1}", f"--realm={REALM}", "--fingerprint"),
        *_auth(secret, options),
        "--relay-threads=1",
        # Without --no-cli it refuses to start with loopback peers, which are for tests alone.
        *("--no-cli", "--no-rfc5780", "--no-dtls", *peers),
        *(f"--pidfile={folder}/coturn-{port}.pid", f"--userdb={folder}/coturn-{port}.db"),
        *("--log-file=stdout", "--simple-log", "-v"),
        *_tls_options(tls, tls_port),
        *options,
    ]
    with started(argv, port, log) as process:
        yield PrivateCoturn(port, secret, log, process, tls_port)


def _auth(secret: str, options: Sequence[str]) -> Sequence[str]:
    if any(option.startswith("--redis-userdb") for option in options):
        return ("--use-auth-secret",)
    return ("--use-auth-secret", f"--static-auth-secret={secret}") if secret else ("--no-auth",)


def redis_options(port: int, database: int) -> tuple[str, str]:
    """Let a coturn have its secrets in a Redis, instead of `secret`, and tell there what it carries."""
    place = f"ip=127.0.0.1 dbname={database} port={port} connect_timeout=5"
    return f"--redis-userdb={place}", f"--redis-statsdb={place}"


def _tls_options(tls: tuple[Path, Path] | None, port: int | None) -> Sequence[str]:
    if tls is None:
        return ("--no-tls",)
    return (f"--tls-listening-port={port}", f"--cert={tls[0]}", f"--pkey={tls[1]}")


@contextmanager
def started(argv: Sequence[str], port: int, log: Path, host: str = HOST) -> Iterator[subprocess.Popen[bytes]]:
    """Run a coturn until the block ends; its output goes to `log`, so that no pipe can stop it."""
    with log.open("wb") as output:
        process = start(argv, environment=inherited(), output=output)
    try:
        wait_until_ready(process, (host, port), log)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_WITHIN_S)


def wait_until_ready(process: subprocess.Popen[bytes], address: tuple[str, int], log: Path) -> None:
    """Ask for its STUN answer until it comes."""
    transaction = secrets.token_bytes(12)  # one for all: an answer to an earlier request is as good
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        probe.connect(address)
        for _ in range(round(READY_WITHIN_S / 0.1)):
            if process.poll() is not None:
                break
            if _answers(probe, transaction):
                return
    raise ProgramError(f"coturn is not ready; it printed:\n{log.read_text('utf-8', 'replace')}")


def _answers(probe: socket.socket, transaction: bytes) -> bool:
    try:
        probe.send(_BINDING_REQUEST + transaction)
        return transaction in probe.recv(1500)
    except TimeoutError:
        return False
    except ConnectionError:
        probe.settimeout(0.1)
        return _pause(probe)


def _pause(probe: socket.socket) -> bool:
    """Nobody listens there yet: wait as long as an answer would be waited for."""
    with suppress(TimeoutError, ConnectionError):
        probe.recv(1500)
    return False
