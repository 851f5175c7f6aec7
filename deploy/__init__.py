"""How Duologue is deployed: configurations for others' programs, and `python -m deploy.cluster`, which runs them here."""
