"""P5, as far as one node goes: live delivery repairs itself."""

from loadtest.resuming import ResumingClient
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node
from tests.proof.traffic import Crowd, cut_often

READERS = 6
WRITERS = 3
MESSAGES = 80
CUTS = 40
LOSING = 0.1


async def run(ground: Ground) -> list[Check]:
    """Reconnect in the middle of a burst; then lose pushes on purpose."""
    node = await ground.node(**UNLIMITED)
    checks = [*await _nobody_asks(node, ground), *await _losses_are_repaired(node, ground)]
    await node.stop()
    return checks


async def _nobody_asks(node: Node, ground: Ground) -> list[Check]:
    """A push that comes while a resume is written must wait behind it, or the client would have to ask."""
    crowd, readers = await _crowd(node, ground, "burst")
    writing = [crowd.write(crowd.add(f"burst-w{number}"), MESSAGES, 0.03) for number in range(WRITERS)]
    report = await crowd.live(cut_often(readers, ground.chance, CUTS, 0.04), *writing)
    asked = sum(client.log.synced - 1 for client in readers)
    returns = sum(client.log.connections - 1 for client in readers)
    return [
        Check(f"{returns} returns in mid-burst, {asked} times a reader had to ask for an entry", asked == 0),
        Check(f"{report.faults} faults of any kind in {report.shown:,} entries shown", report.faults == 0),
    ]


async def _losses_are_repaired(node: Node, ground: Ground) -> list[Check]:
    """Every lost push shows at the next one, and `sync` brings it from the store."""
    ground.tell("losing pushes")
    crowd, readers = await _crowd(node, ground, "lossy")
    for client in readers:
        client.losing = LOSING
    writers = [crowd.add(f"lossy-w{number}") for number in range(WRITERS)]

    async def write_and_heal() -> None:
        for writer in writers:
            await crowd.write(writer, MESSAGES // 2, 0.02)
        for client in readers:
            client.losing = 0.0
        # Without a push after it a loss cannot be seen; over a bus the nodes count for that.
        crowd.say(writers[0], "lossy")

    report = await crowd.live(write_and_heal())
    repairs = sum(client.log.synced - 1 for client in readers)
    return [
        Check(f"{repairs} losses noticed by a jump of seq and repaired from the store", repairs > 0),
        Check(f"{report.faults} faults of any kind in {report.shown:,} entries shown", report.faults == 0),
    ]


async def _crowd(node: Node, ground: Ground, match: str) -> tuple[Crowd, list[ResumingClient]]:
    crowd = Crowd(node, ground.chance)
    readers = [f"{match}-r{number}" for number in range(READERS)]
    await crowd.make({match: [*readers, *(f"{match}-w{number}" for number in range(WRITERS))]})
    return crowd, [crowd.add(user) for user in readers]


CLAIM = Claim(
    "P5",
    "Live delivery repairs itself (the part of one node)",
    "A returning client never has to ask for what came while it returned; a lost push is noticed and repaired.",
    f"{READERS} readers were cut {CUTS} times in a burst of {WRITERS * MESSAGES} messages; then each threw away "
    f"{LOSING:.0%} of all pushes unseen.",
    run,
)
