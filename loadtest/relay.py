"""A TURN server for calls with media: one that the caller of the command names, or Debian's coturn, started here.

Without either, calls use what the server hands out, which is what its users would get.
"""

import base64
import hashlib
import hmac
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.cluster.parts import inherited
from deploy.cluster.programs import Program, Recipe, find_program, free_port
from loadtest.clock import fresh_secret, wall_s
from protocol.calls import IceServer

COTURN: Final = "coturn"
_USER: Final = "loadtest"
_HOST: Final = "127.0.0.1"
_RELAY_PORTS: Final = 200
_FIRST_RELAY_PORT: Final = 10_000
_END_WITHIN_S: Final = 10.0


@contextmanager
def relays(named: str, secret: str, valid_s: float) -> Iterator[tuple[IceServer, ...]]:
    """Yield what calls use until the block ends: `named` is empty, `coturn`, or addresses of TURN servers that know `secret`.

    Raise `ClusterError` when coturn is not installed or does not start.
    """
    if not named:
        yield ()
    elif named == COTURN:
        with tempfile.TemporaryDirectory(prefix="loadtest-coturn-") as folder, _coturn(Path(folder)) as server:
            yield (_signed((f"turn:{_HOST}:{server[0]}?transport=udp",), server[1], valid_s),)
    else:
        yield (_signed(tuple(named.split(",")), secret, valid_s),)


@contextmanager
def _coturn(folder: Path) -> Iterator[tuple[int, str]]:
    """Run one on loopback for this machine alone; yield its port and its secret."""
    port, secret = free_port(), fresh_secret()
    lowest = _FIRST_RELAY_PORT + port % 100 * _RELAY_PORTS
    config = folder / "turnserver.conf"
    config.touch(mode=0o600)
    config.write_text(_configuration(port, secret, lowest, folder))
    program = Program(
        Recipe("coturn", (find_program("turnserver"), "-c", str(config)), port, environment=inherited()), folder
    )
    program.start()
    try:
        program.wait_ready(threading.Event())
        yield port, secret
    finally:
        program.ask_to_end()
        program.wait_ended(_END_WITHIN_S)


def _configuration(port: int, secret: str, lowest: int, folder: Path) -> str:
    lines = [
        f"listening-ip={_HOST}",
        f"relay-ip={_HOST}",
        f"listening-port={port}",
        f"min-port={lowest}",
        f"max-port={lowest + _RELAY_PORTS - 1}",
        "realm=loadtest",
        "fingerprint",
        "use-auth-secret",
        f"static-auth-secret={secret}",
        "relay-threads=1",
        # For people on this machine, who are relayed to each other.
        "allow-loopback-peers",
        "no-cli",
        "no-tls",
        "no-dtls",
        "no-rfc5780",
        f"pidfile={folder / 'coturn.pid'}",
        f"userdb={folder / 'coturn.db'}",
        "log-file=stdout",
        "simple-log",
    ]
    return "\n".join(lines) + "\n"


def _signed(urls: tuple[str, ...], secret: str, valid_s: float) -> IceServer:
    """Make a credential that ends (the TURN REST API's, which coturn calls `use-auth-secret`)."""
    name = f"{int(wall_s() + valid_s)}:{_USER}"
    password = base64.b64encode(hmac.digest(secret.encode(), name.encode(), hashlib.sha1)).decode()
    return IceServer(urls, name, password)
