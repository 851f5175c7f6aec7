"""deploy/nginx.conf as nginx itself reads it, and what the nodes need of it."""

import subprocess
from pathlib import Path

import pytest

from deploy.cluster.parts import NGINX_CONF, Place, front_config, nginx
from server.settings import Settings
from tests.support.programs import find_program

CONFIG = NGINX_CONF.read_text()


def check(config: Path) -> str:
    """Have nginx check a whole configuration; return what it says."""
    argv = (find_program("nginx"), "-t", "-q", "-e", "stderr", "-p", str(config.parent), "-c", str(config))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, 18_000)
    place.make()
    return place


def test_nginx_takes_it(place: Place) -> None:
    """Without a warning; the nodes' names are those of compose, which only its network knows."""
    nginx(place, [18_001, 18_002, 18_003])
    assert check(place.folder / "nginx" / "nginx.conf") == ""


def test_the_same_text_serves_on_this_machine(place: Place) -> None:
    """Other addresses, and nothing else."""
    here = front_config(CONFIG, 18_000, [18_001], place.logs)
    assert "listen 127.0.0.1:18000;" in here
    assert here.count("server 127.0.0.1:") == 1
    assert "node1" not in here
    assert "node2" not in here
    assert "/var/log" not in here
    assert len(here.splitlines()) == len(CONFIG.splitlines()) - 1


def test_a_quiet_socket_outlives_the_proxys_patience() -> None:
    """Nodes ping before it ends, and have given the silent up by then."""
    settings = Settings()
    for direction in ("read", "send"):
        patience_s = CONFIG.split(f"proxy_{direction}_timeout ")[1].split("s;")[0]
        assert float(patience_s) > 2 * (settings.ping_after_s + settings.ping_timeout_s)


def test_no_query_reaches_a_log() -> None:
    """It may be a ticket."""
    line = next(line for line in CONFIG.splitlines() if line.startswith("log_format"))
    for variable in ("$request ", '$request"', "$request_uri", "$args", "$query_string"):
        assert variable not in line
