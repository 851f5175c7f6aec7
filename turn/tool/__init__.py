"""The commands of `python -m turn`: they talk to relays, read the environment and print. The server imports none of this."""
