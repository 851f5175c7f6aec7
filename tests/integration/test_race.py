"""The race, short and small, with real rivals: everybody is served, and the table says what each of them does."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtest.race.table import Race
from tests.support.private_server import inherited
from tests.support.programs import ROOT

# Two installations that hang are told as such, and the rest is raced.
RUN_WITHIN_S = 300
NAMES = ("duologue", "duologue-cluster", "websockets", "socketio", "centrifugo")


@pytest.mark.timeout(RUN_WITHIN_S + 30)
def test_a_short_race(tmp_path: Path) -> None:
    """Nothing gets lost at anybody's; who cannot run is told with the reason."""
    only = [word for name in NAMES for word in ("--only", name)]
    argv = [sys.executable, "-m", "loadtest", "race", "--quick", *only, "--json", str(tmp_path / "race.json")]
    done = subprocess.run(
        [*argv, "--garage", str(tmp_path / "garage")],
        cwd=ROOT,
        env=inherited(),
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    race = msgspec.json.decode((tmp_path / "race.json").read_bytes(), type=Race)
    ran = {line.name: line for line in race.lines}
    assert set(ran) | {missing.name for missing in race.not_run} >= {"Duologue on SQLite", "websockets.serve"}
    for line in race.lines:
        assert all(outcome.delivered == 1 for outcome in line.disciplines.values()), line.name
        # Measured; a rival that collects garbage meanwhile may have shrunk.
        assert line.idle_kib != 0
        assert f"| {line.name} | " in done.stdout
    for missing in race.not_run:
        assert f"| {missing.name} | not run: {missing.why}" in done.stdout
    assert len(race.lines) + len(race.not_run) == len(NAMES)
