"""Two or three nodes on PostgreSQL and Redis under faults from a seed: `python -m tests.chaos`."""
