"""ICE servers: which STUN and TURN servers a call may use, with credentials that end, and what a relay needs to be safe.

Pure, but for `turn.tool`, the commands of `python -m turn`: time is an argument, the network is behind a Protocol.
"""
