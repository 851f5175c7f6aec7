"""How tests are shared out between the workers of `pytest -n`.

A file stays together, because its tests share servers. Folders whose tests share something large, or would take the
whole machine, stay together too: one Chromium, one cluster under chaos at a time.
"""

from typing import Final

from typing_extensions import override
from xdist.scheduler.loadscope import LoadScopeScheduling

WHOLE_FOLDERS: Final = ("tests/chaos/", "tests/browser/")
# Then what waits, then what computes: the last files to be shared out should be short ones.
ORDER: Final = (*WHOLE_FOLDERS, "tests/bad_input/", "tests/integration/", "tests/properties/", "tests/contracts/")


def longest_first(test: str) -> int:
    """Return what sorts tests into the order that they are shared out in."""
    return next((rank for rank, folder in enumerate(ORDER) if test.startswith(folder)), len(ORDER))


def scope(test: str) -> str:
    """Return what all tests have in common that one worker runs together."""
    return next((folder for folder in WHOLE_FOLDERS if test.startswith(folder)), test.partition("::")[0])


class WholeFiles(LoadScopeScheduling):
    """Give each worker the next file, or folder, when it is nearly done."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
