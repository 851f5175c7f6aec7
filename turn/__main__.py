"""`python -m turn`: check the relays of this installation, and write a configuration for coturn."""

import sys

from turn.tool.command import main

sys.exit(main(sys.argv[1:]))
