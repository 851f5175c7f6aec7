"""What a proof consists of: a claim, what is done to break it, and checks of what was seen."""

import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.proof.node import Node


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, in words with its numbers, and whether it is as claimed."""

    seen: str
    holds: bool


@dataclass(slots=True)
class Ground:
    """Where a claim is put to the test: a folder for data, chance from the seed, a line that tells what is going on."""

    folder: Path
    chance: random.Random
    nodes: list[Node] = field(default_factory=list)

    async def node(self, database: str | None = "proof.db", **settings: str) -> Node:
        """Start a server on the SQLite file `database`, or in memory. It is gone when the claim has been tried."""
        node = Node(None if database is None else self.folder / database, **settings)
        self.nodes.append(node)
        await node.start()
        return node

    async def clear(self) -> None:
        """End what is still running, after a proof that fell over."""
        for node in self.nodes:
            await node.end()

    def tell(self, what: str) -> None:
        """Show progress to somebody who watches."""
        if sys.stdout.isatty():
            print(f"\r\033[K         {what} …", end="", flush=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """A promise: its name in the design, its words, what is done to break it, and who does it."""

    promise: str
    title: str
    says: str
    done: str
    run: Callable[[Ground], Awaitable[list[Check]]]


def count(number: int, what: str) -> str:
    """Write a number with its noun: `1 match`, `2,000 matches`."""
    if number == 1:
        return f"1 {what}"
    return f"{number:,} {what}{'es' if what.endswith(('ch', 's')) else 's'}"
