"""How tests are shared out between the workers of `pytest -n`.

A file stays together, because its tests share servers. Files whose tests share something large, or would take the whole
machine, stay together too: there is one Chromium, and one cluster of nodes in trouble at a time.
"""

from typing import Final

from typing_extensions import override
from xdist.scheduler.loadscope import LoadScopeScheduling

# By how the names of their tests begin.
TOGETHER: Final = {
    "tests/browser/": "browser",
    "tests/integration/test_chaos": "cluster",
    "tests/integration/test_cluster": "cluster",
    "tests/integration/test_sessions_of_two_nodes": "cluster",
}
# Then what waits, then what computes: the last files to be shared out should be short ones.
ORDER: Final = (*TOGETHER, "tests/integration/", "tests/properties/", "tests/bad_input/", "tests/contracts/")


def longest_first(test: str) -> int:
    """Return what sorts tests into the order that they are shared out in."""
    return next((rank for rank, start in enumerate(ORDER) if test.startswith(start)), len(ORDER))


def scope(test: str) -> str:
    """Return what all tests have in common that one worker runs together."""
    return next((name for start, name in TOGETHER.items() if test.startswith(start)), test.partition("::")[0])


class WholeFiles(LoadScopeScheduling):
    """Give each worker the next file, or group of files, when it is nearly done."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
