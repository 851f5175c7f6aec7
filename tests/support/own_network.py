"""Programs in a network of their own, with addresses of their own: what loopback cannot show, and nobody else sees.

Linux gives that to root, and to everybody where user namespaces are allowed.
"""

import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from tests.support.programs import ROOT, find_program

WITHIN_S: Final = 120.0
_PREPARE: Final = 'ip link set lo up; for each in $ADDRESSES; do ip addr add "$each/32" dev lo; done; exec "$@"'


@cache
def is_possible() -> bool:
    """Say whether this machine lets us have one."""
    return subprocess.run(_inside("true"), env={"ADDRESSES": ""}, capture_output=True).returncode == 0


def run_in_own_network(
    addresses: Sequence[str], argv: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end where `addresses` are this machine's and nothing else can be reached."""
    return subprocess.run(
        _inside(*argv),
        env={**environment, "ADDRESSES": " ".join(addresses)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )


def _inside(*argv: str) -> list[str]:
    unshare, shell = find_program("unshare"), find_program("sh")
    return [unshare, "--map-root-user", "--net", shell, "-ec", f"PATH=$PATH:/usr/sbin:/sbin; {_PREPARE}", "sh", *argv]
