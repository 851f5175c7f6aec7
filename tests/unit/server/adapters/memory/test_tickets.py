"""Tickets work once, for 30 seconds, and their number is bounded."""

import asyncio
import hashlib
import re
from itertools import count

import pytest

from protocol.ids import UserId
from server.adapters.memory.tickets import MemoryTickets
from server.core.tokens import Claims
from server.ports import Tickets

ALICE = Claims(UserId("alice"), 2_000.0)


class World:
    """A clock that stands still and chance that counts."""

    def __init__(self, max_tickets: int = 100) -> None:
        self.now = 1_000.0
        numbers = count(1)
        self.tickets = MemoryTickets(lambda: self.now, lambda size: next(numbers).to_bytes(size, "big"), max_tickets)
        self.port: Tickets = self.tickets


async def test_a_ticket_gives_its_claims_once() -> None:
    world = World()
    ticket = await world.port.issue(ALICE)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ticket)
    assert await world.port.redeem(ticket) == ALICE
    assert await world.port.redeem(ticket) is None


async def test_of_two_who_come_at_once_one_gets_in() -> None:
    world = World()
    ticket = await world.port.issue(ALICE)
    assert sorted(map(bool, await asyncio.gather(world.port.redeem(ticket), world.port.redeem(ticket)))) == [
        False,
        True,
    ]


@pytest.mark.parametrize("age_s, claims", [(29.999, ALICE), (30.0, None), (3600.0, None)])
async def test_a_ticket_dies_after_thirty_seconds(age_s: float, claims: Claims | None) -> None:
    world = World()
    ticket = await world.port.issue(ALICE)
    world.now += age_s
    assert await world.port.redeem(ticket) == claims


@pytest.mark.parametrize(
    "ticket",
    ["", "x", "A" * 43, "A" * 42 + "é", "A" * 42 + "\ud800", "A" * 44, "B" * 1_000_000],
    ids=lambda text: ascii(text[-50:]),
)
async def test_what_was_never_issued_gives_nothing(ticket: str) -> None:
    world = World()
    await world.port.issue(ALICE)
    assert await world.port.redeem(ticket) is None
    assert len(world.tickets) == 1


async def test_the_oldest_is_forgotten_when_too_many_wait() -> None:
    world = World(max_tickets=3)
    tickets = [await world.port.issue(Claims(UserId(f"u{number}"), 2_000.0)) for number in range(5)]
    assert len(world.tickets) == 3
    assert [bool(await world.port.redeem(ticket)) for ticket in tickets] == [False, False, True, True, True]


async def test_the_dead_make_room() -> None:
    world = World()
    for _ in range(50):
        await world.port.issue(ALICE)
    world.now += 31
    await world.port.issue(ALICE)
    assert len(world.tickets) == 1


async def test_only_the_hash_is_kept() -> None:
    world = World()
    ticket = await world.port.issue(ALICE)
    (kept,) = world.tickets._waiting
    assert kept == hashlib.sha256(ticket.encode()).digest()
