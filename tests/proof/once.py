"""P3: once."""

import asyncio

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from protocol.from_server import Message, Sent
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED

MESSAGES = 100
COPIES = 3


async def run(ground: Ground) -> list[Check]:
    """Send everything three times over two devices at once, kill, and send it once more."""
    node = await ground.node(**UNLIMITED)
    api = node.api()
    await api.put_match("pair", ["alice", "bob"])
    answers: dict[str, list[Sent]] = {f"c{number}": [] for number in range(MESSAGES)}
    devices = [await node.arrive("alice") for _ in range(2)]
    sends = [(devices[copy % 2], name) for copy in range(COPIES) for name in answers]
    ground.chance.shuffle(sends)
    await asyncio.gather(*(_send(device, name, answers) for device, name in sends))
    conflicts = sum([await _conflicts(devices[0], name) for name in answers])
    ground.tell("kill -9")
    await node.kill()
    await node.start()
    device = await node.arrive("alice")
    await asyncio.gather(*(_send(device, name, answers) for name in answers))
    api = node.api()
    stored = [entry for entry in await api.log("pair") if isinstance(entry, Message)]
    api.close()
    await device.close()
    await node.stop()
    places = [{(each.seq, each.created_at) for each in found} for found in answers.values()]
    firsts = sum(not each.duplicate for found in answers.values() for each in found)
    total = MESSAGES * (COPIES + 1)
    return [
        Check(f"{sum(map(len, answers.values()))} of {total} sends answered", sum(map(len, answers.values())) == total),
        Check(
            f"{len(stored)} of {MESSAGES} stored, each once",
            len(stored) == len({m.client_id for m in stored}) == MESSAGES,
        ),
        Check(
            "every copy got the first seq and created_at, also after kill -9", all(len(each) == 1 for each in places)
        ),
        Check(f"{firsts} answers said that they were the first, all others `duplicate`", firsts == MESSAGES),
        Check(
            f"{conflicts} of {MESSAGES} refused with client_id_conflict when the text was another",
            conflicts == MESSAGES,
        ),
    ]


async def _send(device: Client, name: str, answers: dict[str, list[Sent]]) -> None:
    answers[name].append(await device.send("pair", f"text of {name}", name))


async def _conflicts(device: Client, name: str) -> bool:
    try:
        await device.send("pair", "another text", name)
    except Refused as refused:
        return refused.code is ErrorCode.CLIENT_ID_CONFLICT
    return False


CLAIM = Claim(
    "P3",
    "Once",
    "A message sent again under its client_id is stored once and answered with its first place; with another text it is refused.",
    f"{MESSAGES} messages were sent {COPIES} times over two devices at once, and once more after kill -9.",
    run,
)
