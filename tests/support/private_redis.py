"""A Redis of a test's own: a free loopback port, its own data, ended by its own process id. Also a Sentinel trio.

It can be frozen, killed, restarted from what it had saved or from nothing, and have its clients cut off.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.private_server import inherited
from tests.support.programs import Program, find_program, free_port, running

READY: Final = "eady to accept connections"
SENTINEL_READY: Final = "Sentinel ID is"
SERVICE: Final = "chat"


class PrivateRedis:
    """A running redis-server; `restart` keeps the port."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port, self._cluster_port = free_port(), free_port()
        self.socket = folder / f"redis-{self.port}.sock"
        self._options = tuple(options)
        self._stack = ExitStack()
        self.program: Program | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, on what its dump has."""
        argv = (
            *(find_program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(self.folder), "--dbfilename", f"{self.port}.rdb", "--unixsocket", str(self.socket)),
            # For one that is a cluster: the port that it would choose itself may be another program's.
            *("--cluster-port", str(self._cluster_port)),
            *("--daemonize", "no", "--enable-debug-command", "local", *self._options),
        )
        self.program = self._stack.enter_context(running(argv, ready=READY, environment=inherited()))

    def client(self) -> "redis.Redis":
        """A connection of the test's own, to look and to make trouble."""
        return redis.Redis(port=self.port, protocol=2)

    def say(self, *command: str | bytes | int) -> object:
        """Run one command."""
        with self.client() as client:
            answer: object = client.execute_command(*command)
            return answer

    def cut_readers(self) -> None:
        """Cut the connections that listen."""
        self.say("CLIENT", "KILL", "TYPE", "pubsub")

    def cut_commands(self) -> None:
        """Cut the connections for commands, but that of the test."""
        self.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        assert self.program is not None
        self.program.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.program is not None
        self.program.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.program is not None
        self.program.kill()

    def restart_empty(self) -> None:
        """Kill it and start it with nothing."""
        self.kill()
        (self.folder / f"{self.port}.rdb").unlink(missing_ok=True)
        self.start()

    def restart_old(self) -> None:
        """Kill it and start it with what was saved last."""
        self.kill()
        self.start()

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def private_redis(folder: Path, *options: str) -> Iterator[PrivateRedis]:
    """Run a Redis until the block ends; `options` as on its command line."""
    server = PrivateRedis(folder, options)
    try:
        yield server
    finally:
        server.stop()


class SentinelTrio:
    """A master, a replica and three Sentinels that agree on the master's name `SERVICE`."""

    def __init__(self, folder: Path, stack: ExitStack, down_after_ms: int) -> None:
        self._down_after_ms = down_after_ms
        self.master = stack.enter_context(private_redis(folder, "--repl-diskless-sync-delay", "0"))
        self.replica = stack.enter_context(private_redis(folder, "--replicaof", f"127.0.0.1 {self.master.port}"))
        self.ports = [free_port() for _ in range(3)]
        # Written down, so that they need not find each other first.
        self._known = "".join(
            f"sentinel known-sentinel {SERVICE} 127.0.0.1 {port} {port:040x}\n" for port in self.ports
        )
        self._known += f"sentinel known-replica {SERVICE} 127.0.0.1 {self.replica.port}\n"
        for port in self.ports:
            stack.enter_context(self._sentinel(folder, port))
        self.master.say("WAIT", 1, 5000)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def master_now(self) -> PrivateRedis:
        """Return whom the Sentinels name; on a busy machine they may have made the replica the master."""
        with redis.Redis(port=self.ports[0], decode_responses=True) as sentinel:
            named = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return self.master if int(named[1]) == self.master.port else self.replica

    def _sentinel(self, folder: Path, port: int) -> AbstractContextManager[Program]:
        known = "".join(line for line in self._known.splitlines(keepends=True) if f" {port:040x}" not in line)
        file = folder / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel myid {port:040x}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n{known}",
            encoding="utf-8",
        )
        argv = (find_program("redis-server"), str(file), "--sentinel")
        return running(argv, ready=SENTINEL_READY, environment=inherited())


@contextmanager
def sentinel_trio(folder: Path, down_after_ms: int = 500) -> Iterator[SentinelTrio]:
    """Run one until the block ends; a master that says nothing for so long is down."""
    with ExitStack() as stack:
        yield SentinelTrio(folder, stack, down_after_ms)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """Share one Redis between tests that do it no harm; each takes a prefix of its own."""
    with private_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextmanager
def private_tls_redis(folder: Path) -> Iterator[tuple[PrivateRedis, str]]:
    """Run one that also listens with TLS, and yield it with that URL; `localhost.crt` in `folder` is what to trust."""
    certificate, key = make_certificate(folder)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with private_redis(folder, *tls, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no") as server:
        yield server, f"rediss://localhost:{port}"


def make_certificate(folder: Path, address: str | None = None) -> tuple[Path, Path]:
    """Write a certificate for localhost (and an address) and its key, good for a day."""
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if address is not None:
        names.append(x509.IPAddress(ip_address(address)))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "localhost.crt", folder / "localhost.key"
    files[0].write_bytes(certificate.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files[1].write_bytes(secret)
    return files
