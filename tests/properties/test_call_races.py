"""Random races of calls on three nodes leave one outcome everywhere; `make call-races` runs ten thousand."""

from secrets import randbits

import pytest
from typing_extensions import override

from server.adapters.memory.calls import CallBook
from server.core.calls import CallChange
from tests.support import call_races
from tests.support.call_races import Problems, race_many


async def test_every_race_has_one_outcome() -> None:
    """The seed of what went wrong is in the failure."""
    counts = await race_many(400, randbits(32))
    assert counts["nodes killed"] + counts["frames lost"] > 0
    assert sum(count for name, count in counts.items() if name.startswith("ended")) > 200


class Forgiving(CallBook):
    """Takes changes that were decided from an older state."""

    @override
    def is_stale(self, change: CallChange) -> bool:
        return False


async def test_a_store_that_takes_stale_changes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check sees what it is for."""
    monkeypatch.setattr("server.adapters.memory.store.CallBook", Forgiving)
    with pytest.raises(Problems):
        await race_many(400, 1)


async def test_rings_that_are_not_taken_back_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every device believes that what is cancelled rings on."""
    hear = call_races.Device._hear
    monkeypatch.setattr(
        call_races.Device, "_hear", lambda device, it: it["type"] == "call.cancelled" or hear(device, it)
    )
    with pytest.raises(Problems, match="rings for"):
        await race_many(40, 1)
