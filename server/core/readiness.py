"""What a node says when it is asked whether it should get new connections."""

from msgspec import Struct


class Ready(Struct, frozen=True):
    """Whether it should, and what each thing that it needs says."""

    ready: bool
    checks: dict[str, str]
