"""The machine that a measurement was made on, as it is told with every figure."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from loadtest.result import Machine

PACKAGES: Final = ("websockets", "uvloop", "msgspec", "orjson")


def this_machine() -> Machine:
    """Return what this one is."""
    packages = {name: _version(name) for name in PACKAGES}
    return Machine(_processor(), os.cpu_count() or 1, platform.release(), platform.python_version(), packages)


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "?"
    return next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
