"""What the cluster is made of: the recipe of each program, with the files that it reads."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.cluster.programs import ClusterError, Recipe, find_program, free_port

CHECKOUT: Final = Path(__file__).resolve().parents[2]
NGINX_CONF: Final = CHECKOUT / "deploy" / "nginx.conf"
OWNER: Final = "duologue"
# PostgreSQL refuses to be root; Debian's package brings this account.
ACCOUNT: Final = "postgres"
# All that a program may take from the environment here. A developer's PORT or API_KEYS stays outside.
INHERITED: Final = ("HOME", "LANG", "PATH", "TMPDIR")
# Short: nobody waits for Ctrl-C.
DRAIN_S: Final = "2"


@dataclass(frozen=True)
class Place:
    """The folder of this cluster, and where its front is."""

    folder: Path
    port: int

    @property
    def logs(self) -> Path:
        """Where each program's output is."""
        return self.folder / "logs"

    def make(self) -> None:
        """Make the folders. Other accounts may enter, to reach what is theirs, but not list."""
        self.folder.chmod(0o711)
        for name in ("logs", "nginx", "redis"):
            (self.folder / name).mkdir(mode=0o711)


def postgres(place: Place) -> tuple[Recipe, str]:
    """Make an empty database cluster with a password; return its recipe and its address."""
    folder, port, password = place.folder / "postgres", free_port(), secrets.token_hex(16)
    folder.mkdir(mode=0o700)
    account = ACCOUNT if os.geteuid() == 0 else ""
    secret = folder.with_suffix(".password")
    secret.touch(0o600)
    secret.write_text(password)
    if account:
        for path in (folder, secret):
            shutil.chown(path, account, account)
    how = ("-U", OWNER, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8")
    _run_as(account, find_program("initdb"), "-D", str(folder), *how)
    secret.unlink()
    where = ("-D", str(folder), "-p", str(port), "-h", "127.0.0.1", "-k", "")
    recipe = Recipe(
        name="postgres",
        argv=(find_program("postgres"), *where),
        port=port,
        ready="ready to accept connections",
        ends_on=signal.SIGINT,  # fast: does not wait for those who are still connected
        account=account,
        environment=inherited(),
    )
    return recipe, f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/postgres"


def _run_as(account: str, *argv: str) -> None:
    done = subprocess.run(
        argv,
        cwd="/",
        env=inherited(),
        capture_output=True,
        text=True,
        check=False,
        user=account or None,
        group=account or None,
        extra_groups=() if account else None,
    )
    if done.returncode:
        raise ClusterError(f"{Path(argv[0]).name} failed:\n{done.stderr}")


def redis(place: Place) -> tuple[Recipe, str]:
    """Return the recipe of a Redis that keeps nothing on disk, and its address."""
    port, password, config = free_port(), secrets.token_hex(16), place.folder / "redis" / "redis.conf"
    config.touch(0o600)
    # In a file, because everybody on this machine can read command lines.
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {config.parent}\n')
    argv = (find_program("redis-server"), str(config))
    recipe = Recipe("redis", argv, port, ready="eady to accept connections", environment=inherited())
    return recipe, f"redis://:{password}@127.0.0.1:{port}"


def node(number: int, environment: dict[str, str]) -> Recipe:
    """Return the recipe of one node, in development mode, so that the page mints its own tokens."""
    port = free_port()
    settings = {**inherited(), **environment, "NODE_NAME": f"node{number}", "PORT": str(port)}
    argv = (sys.executable, "-m", "server", "--dev")
    return Recipe(f"node{number}", argv, port, ready="is ready", environment=settings)


def shared_settings(database: str, bus: str) -> dict[str, str]:
    """Return what all nodes have in common; a token of one is good at all others."""
    return {
        "HOST": "127.0.0.1",
        "DATABASE_URL": database,
        "REDIS_URL": bus,
        "TOKEN_SECRETS": secrets.token_hex(32),
        "TRUSTED_PROXIES": "127.0.0.1",
        "DRAIN_S": DRAIN_S,
        # Nodes are started from the root of the checkout, wherever we are.
        "PYTHONPATH": str(CHECKOUT),
    }


def nginx(place: Place, nodes: list[int]) -> Recipe:
    """Return the recipe of nginx with deploy/nginx.conf in front of the ports `nodes`."""
    folder = place.folder / "nginx"
    (folder / "duologue.conf").write_text(front_config(NGINX_CONF.read_text(), place.port, nodes, place.logs))
    paths = "".join(
        f"    {kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        # One process: workers outlive a master that is killed, and keep its port.
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\nerror_log {place.logs / 'error.log'};\n"
        f"events {{ worker_connections 8192; }}\nhttp {{\n{paths}    include {folder / 'duologue.conf'};\n}}\n"
    )
    argv = (
        find_program("nginx"),
        "-e",
        str(place.logs / "error.log"),
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
    )
    return Recipe("nginx", argv, place.port, environment=inherited())


def front_config(text: str, port: int, nodes: list[int], logs: Path) -> str:
    """Return deploy/nginx.conf with addresses of this machine."""
    first, *more = re.findall(r"^ +server node\d+:8000.*;\n", text, re.MULTILINE)
    for line in more:
        text = text.replace(line, "")
    servers = "".join(re.sub(r"node\d+:8000", f"127.0.0.1:{node}", first) for node in nodes)
    text = text.replace(first, servers).replace("/var/log/nginx", str(logs))
    return text.replace("listen 80;", f"listen 127.0.0.1:{port};")


def inherited() -> dict[str, str]:
    """Return what programs may see of this environment, with what measures the coverage of tests."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(("COVERAGE_", "COV_"))
    }
