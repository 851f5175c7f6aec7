"""The promises of the design, broken at in front of an outsider's eyes: `python -m tests.proof`."""
