"""P1: acked means kept."""

from tests.proof.claims import Check, Claim, Ground, count
from tests.proof.node import UNLIMITED
from tests.proof.traffic import Crowd, kill_often

KILLS = 6
CLIENTS = 12
MESSAGES = 80


async def run(ground: Ground) -> list[Check]:
    """Kill the server in mid-traffic, several times."""
    node = await ground.node(**UNLIMITED)
    crowd = Crowd(node, ground.chance)
    users = [f"user-{number}" for number in range(CLIENTS)]
    await crowd.make({f"match-{number}": [users[number], users[(number + 1) % CLIENTS]] for number in range(CLIENTS)})
    clients = [crowd.add(user) for user in users]
    writing = [crowd.write(client, MESSAGES, 0.08) for client in clients]
    report = await crowd.live(kill_often(node, ground.chance, KILLS, ground.tell), *writing)
    await node.stop()
    reconnects = sum(client.log.connections for client in clients) - len(clients)
    resent = sum(len(each.transmissions) > 1 for client in clients for each in client.log.submitted.values())
    return [
        Check(
            f"{count(node.kills, 'time')} killed, {reconnects} reconnects, {resent} messages sent again",
            node.kills == KILLS,
        ),
        Check(
            f"{report.acked:,} of {CLIENTS * MESSAGES:,} messages acked in the end", report.acked == CLIENTS * MESSAGES
        ),
        Check(f"{report.lost} acked messages lost", report.lost == 0),
        Check(f"{report.doubled} doubled by being sent again", report.doubled == 0),
        Check(f"{report.faults} faults of any kind in {report.shown:,} entries shown", report.faults == 0),
        Check(f"{node.tracebacks} tracebacks in the server's log", node.tracebacks == 0),
    ]


CLAIM = Claim(
    "P1",
    "Acked means kept",
    "The `ok` to a message is sent after the commit. No acked message is lost, whatever is killed.",
    f"{CLIENTS} clients wrote {MESSAGES} messages each while the server was killed with kill -9 {KILLS} times in mid-traffic.",
    run,
)
