"""The smallest honest cluster on one machine: PostgreSQL, Redis, nodes and nginx of its own, for as long as it runs.

Everything is in one temporary folder and on loopback, with passwords made for this run; nothing of it outlives it.
"""
