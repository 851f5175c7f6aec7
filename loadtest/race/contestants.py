"""Who runs, and on what: each server alone on one core together with the Redis and PostgreSQL that it uses."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from deploy.cluster.parts import CHECKOUT, inherited, postgres
from deploy.cluster.programs import ClusterError, Program, Recipe, free_port
from loadtest.clock import fresh_secret, wall_s
from loadtest.race.garage import RIVALS, Garage, NotInstalled, node, versions
from loadtest.race.speech import Centrifugo, Duologue, DuologueSignals, Relay, SocketIo
from loadtest.race.stage import Contestant, NotRun, Stage

# Limits that would end a measurement instead of being measured. Everything else is as in production.
LIFTED: Final = {
    "MAX_CONNECTIONS": "100000",
    "MAX_CONNECTIONS_PER_ADDRESS": "100000",
    "MAX_MEMBERS": "1000",
    "MESSAGE_RATE_PER_S": "1000000",
    "MESSAGE_BURST": "1000000",
    "FRAME_RATE_PER_S": "1000000",
    "FRAME_BURST": "1000000",
    "API_KEY_RATE_PER_S": "100000",
    "API_KEY_BURST": "100000",
    "TYPING_INTERVAL_MS": "0",
    "EPHEMERAL_HOLD_MS": "0",
    "LOG_LEVEL": "warning",
}
NOTHING_KEPT: Final = "nothing stored, no order, no acknowledgement"
EVERYTHING_KEPT: Final = "stored before it is told, one order, acknowledged, sent again without doubles"


def duologue_alone(stage: Stage) -> Contestant:
    """Start ours as `make run` does: SQLite with full synchronisation, no other program."""
    return _duologue(stage, "Duologue on SQLite", {"DATABASE_URL": f"sqlite:{stage.place.folder / 'race.db'}"})


def duologue_cluster(stage: Stage) -> Contestant:
    """Start ours as a node of a cluster."""
    recipe, database = postgres(stage.place)
    store = stage.start(recipe)
    bus, bus_url = stage.redis()
    where = {"DATABASE_URL": database, "REDIS_URL": bus_url}
    return _duologue(stage, "Duologue on PostgreSQL + Redis", where, (store, bus))


def _duologue(stage: Stage, name: str, where: dict[str, str], helpers: tuple[Program, ...] = ()) -> Contestant:
    port, key, secret = free_port(), fresh_secret(), fresh_secret()
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "API_KEYS": key, "TOKEN_SECRETS": secret}
    environment = {**inherited(), **LIFTED, **settings, **where, "PYTHONPATH": str(CHECKOUT)}
    argv = (sys.executable, "-m", "server")
    server = stage.start(Recipe("duologue", argv, port, ready="is ready", environment=environment))
    speech = Duologue(f"http://127.0.0.1:{port}", key, secret, int(wall_s()))
    packages = f"this checkout, Python {sys.version.split()[0]}"
    return Contestant(
        name, packages, EVERYTHING_KEPT, port, speech, DuologueSignals(speech), server=server, helpers=helpers
    )


def websockets_serve(stage: Stage) -> Contestant:
    """Start the plainest relay in Python."""
    port = free_port()
    argv = (sys.executable, str(RIVALS / "websockets_serve.py"), str(port))
    server = stage.start(Recipe("websockets", argv, port, environment=inherited()))
    found = f"websockets {version('websockets')}, uvloop {version('uvloop')}"
    speech = Relay("/")
    return Contestant("websockets.serve", found, f"{NOTHING_KEPT}; one node", port, speech, speech, server)


def socketio(stage: Stage) -> Contestant:
    """Start Socket.IO on Node."""
    folder = stage.garage.socketio()
    bus, bus_url = stage.redis()
    port = free_port()
    argv = (*node(), str(folder / "server.js"), str(port), bus_url)
    server = stage.start(Recipe("socketio", argv, port, environment=inherited()))
    found = versions()
    packages = f"socket.io {found['socket.io']}, redis-adapter {found['@socket.io/redis-adapter']}, ws {found['ws']}"
    speech = SocketIo()
    return Contestant("Socket.IO + Redis adapter", packages, NOTHING_KEPT, port, speech, speech, server, (bus,))


def python_socketio(stage: Stage) -> Contestant:
    """Start python-socketio on uvicorn."""
    python = stage.garage.python()
    bus, bus_url = stage.redis()
    port = free_port()
    argv = (python, str(RIVALS / "python_socketio.py"), str(port), bus_url)
    server = stage.start(Recipe("python-socketio", argv, port, environment=inherited()))
    found = versions()
    packages = f"python-socketio {found['python-socketio']}, uvicorn {found['uvicorn']}"
    speech = SocketIo()
    return Contestant("python-socketio + Redis", packages, NOTHING_KEPT, port, speech, speech, server, (bus,))


def django_channels(stage: Stage) -> Contestant:
    """Start Django Channels on Daphne."""
    python = stage.garage.python()
    bus, bus_url = stage.redis()
    port = free_port()
    argv = (python, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "-v", "0", "django_channels:application")
    environment = {**inherited(), "REDIS_URL": bus_url, "PYTHONPATH": str(RIVALS)}
    server = stage.start(Recipe("channels", argv, port, environment=environment))
    found = versions()
    packages = f"channels {found['channels']}, channels-redis {found['channels-redis']}, daphne {found['daphne']}"
    speech = Relay("/room/")
    return Contestant("Django Channels + Redis", packages, NOTHING_KEPT, port, speech, speech, server, (bus,))


def centrifugo(stage: Stage) -> Contestant:
    """Start Centrifugo where its binary is on PATH; its driver was written from the documentation, never seen live."""
    binary = shutil.which("centrifugo")
    if binary is None:
        raise NotInstalled("no `centrifugo` on PATH; neither pip nor npm has it")
    port = free_port()
    config = stage.place.folder / "centrifugo.json"
    anybody = {"allow_subscribe_for_client": True, "allow_publish_for_subscriber": True}
    client = {"allow_anonymous_connect_without_token": True, "allowed_origins": ["*"], "concurrency": 0}
    listen = {"port": str(port), "address": "127.0.0.1"}
    config.write_bytes(
        msgspec.json.encode({"http_server": listen, "client": client, "channel": {"without_namespace": anybody}})
    )
    server = stage.start(Recipe("centrifugo", (binary, "-c", str(config)), port, environment=inherited()))
    does = f"{NOTHING_KEPT} by default; driver written from its documentation"
    speech = Centrifugo()
    return Contestant("Centrifugo", "the binary on PATH", does, port, speech, speech, server)


STARTS: Final[dict[str, Callable[[Stage], Contestant]]] = {
    "duologue": duologue_alone,
    "duologue-cluster": duologue_cluster,
    "websockets": websockets_serve,
    "socketio": socketio,
    "python-socketio": python_socketio,
    "channels": django_channels,
    "centrifugo": centrifugo,
}


@contextmanager
def contestants(
    names: list[str], folder: Path, garage: Garage, tell: Callable[[str], None]
) -> Iterator[tuple[list[Contestant], list[NotRun]]]:
    """Start those named, until the block ends; who cannot start is told with the reason."""
    running: list[Contestant] = []
    missing: list[NotRun] = []
    with ExitStack() as stack:
        stage = Stage(folder, garage)
        stack.callback(stage.end)
        for name in names:
            tell(f"starting {name}")
            try:
                running.append(STARTS[name](stage))
            except (NotInstalled, ClusterError, OSError) as problem:
                missing.append(NotRun(name, " ".join(str(problem).split())[:300]))
        yield running, missing
