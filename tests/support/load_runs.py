"""Runs of the load tester for tests: short, small, against a server of the test's own."""

from typing import Final

from msgspec import structs

from loadtest.coordinator import Plan
from loadtest.scenario import Chat, Matches, People, Promises, Scenario, load_scenario
from loadtest.world import Access, api_url_of

# Nothing that a busy machine could make late is late.
PATIENT: Final = Promises(late_after_s=60.0, presence_grace_s=30.0)
PAIRS: Final = Scenario(
    title="A test",
    about="Pairs who write without typing.",
    people=People(connects_per_s=200.0, watch=False),
    chat=Chat(is_talk=False, typing=False, receipts=False),
    promises=PATIENT,
    warm_up_s=0.0,
)
GROUPS: Final = structs.replace(PAIRS, matches=Matches(shape="groups", size=6))


def scenario(name: str) -> Scenario:
    """Return one of ours, made patient and short of warm-up."""
    found = load_scenario(name)
    promises = structs.replace(PATIENT, is_disturbed=found.promises.is_disturbed)
    return structs.replace(found, promises=promises, warm_up_s=0.0)


def plan(
    port: int, what: Scenario = PAIRS, *, users: int = 8, duration_s: float = 3.0, rate_per_s: float = 20.0
) -> Plan:
    """Return a small run against a development server on `port`."""
    people = structs.replace(what.people, users=users)
    url = f"ws://127.0.0.1:{port}/ws"
    return Plan(
        "test",
        structs.replace(what, people=people, duration_s=duration_s),
        Access(url, api_url_of(url), "dev"),
        users,
        duration_s,
        rate_per_s,
        budgets={},
        command="a test",
    )
