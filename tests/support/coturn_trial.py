"""`python -m tests.support.coturn_trial FOLDER PORT COTURN… -- COMMAND…`: run a command while a coturn runs; its end is ours.

For a network namespace, where both have to be started from within.
"""

import subprocess
import sys
from pathlib import Path

from tests.support.private_coturn import started

folder, address, port, *rest = sys.argv[1:]
split = rest.index("--")
with started(rest[:split], int(port), Path(folder) / "coturn.log", address):
    sys.exit(subprocess.run(rest[split + 1 :]).returncode)
