"""The Duologue server: `python -m server`."""
