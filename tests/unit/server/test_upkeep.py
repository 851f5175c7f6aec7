"""Partitions are made every day, and a short horizon is told."""

from protocol.ids import Micros
from server.ports import StoreUnavailable
from server.upkeep import AGAIN_S, DAY_US, EVERY_S, Upkeep

NOW = Micros(1_795_000_000_000_000)


class Maker:
    """Stands for the store."""

    def __init__(self) -> None:
        self.days_ahead: int | None = 100

    async def make(self) -> Micros:
        if self.days_ahead is None:
            raise StoreUnavailable("away")
        return Micros(NOW + self.days_ahead * DAY_US)


async def test_it_is_done_daily_and_sooner_when_the_store_was_away() -> None:
    """What the store made last stands meanwhile."""
    maker = Maker()
    upkeep = Upkeep(maker.make, lambda: NOW)
    assert await upkeep.round() == EVERY_S
    maker.days_ahead = None
    assert await upkeep.round() == AGAIN_S
    assert upkeep.trouble == ""


async def test_a_short_horizon_is_told() -> None:
    """With the days that are left; also when no attempt succeeded since the start."""
    maker, now = Maker(), NOW
    upkeep = Upkeep(maker.make, lambda: now)
    now = Micros(NOW + 80 * DAY_US)
    assert "9 more days" in upkeep.trouble
    maker.days_ahead = 200
    await upkeep.round()
    assert upkeep.trouble == ""
