"""P10, the other half: the same behaviour on one embedded server and on two nodes with PostgreSQL and Redis."""

from tests.proof.claims import Check, Claim, Ground
from tests.proof.shared import shared
from tests.proof.twins import compared, play


async def run(ground: Ground) -> list[Check]:
    """Play the script of the embedded half between two people on one server, then on two nodes."""
    embedded = await ground.node("laptop.db")
    laptop = await play("on SQLite", embedded)
    await embedded.stop()
    with shared(ground) as place:
        here, there = await place.node(), await place.node()
        checks = compared(laptop, await play("on two nodes", here, there))
        for node in (here, there):
            await node.stop()
    return checks


CLAIM = Claim(
    "P10",
    "Same behaviour from laptop to cluster (the cluster half)",
    "SQLite in one process and two nodes on PostgreSQL and Redis answer alike.",
    "The same script was played between people on one embedded server, and on two nodes.",
    run,
)
