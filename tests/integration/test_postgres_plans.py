"""How PostgreSQL reads a page: the months in order, each by its primary key, no further than needed, and nothing sorted."""

import pytest

from tests.support.clock import DAY_US
from tests.support.postgres_stores import Clustered
from tests.support.stores import ALICE, BOB

EXPLAIN = (
    "LOAD 'auto_explain'",
    "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_nested_statements = on",
    "SET auto_explain.log_analyze = on",
    "SET client_min_messages = log",
)


@pytest.mark.parametrize("bounds", ["$1 - 1, NULL", "NULL, 0", "NULL, NULL"])
async def test_a_page_is_an_ordered_append_of_index_scans(clustered: Clustered, bounds: str) -> None:
    await clustered.world.make(ALICE, BOB)
    for _ in range(4):
        clustered.clock.wall_us += 25 * DAY_US
        await clustered.world.fill(30)
    plans: list[str] = []
    clustered.admin.add_log_listener(lambda _, message: plans.append(str(message.message)))
    for statement in EXPLAIN:
        await clustered.admin.execute(statement)
    until = (await clustered.world.state()).last_at
    page = f"SELECT * FROM duologue.history('m', 'alice', {bounds}, 50, 262144, 0, 0, true)"
    (row,) = await clustered.admin.fetch(page.replace("$1", str(until)))
    assert len(row["seqs"]) == 51
    await clustered.admin.execute("SET client_min_messages = notice")
    (plan,) = [plan for plan in plans if "entries_2" in plan]
    assert "Append" in plan
    assert "Index Scan" in plan
    assert "never executed" in plan  # a page of 50 does not touch the months beyond
    assert "Sort" not in plan
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan
