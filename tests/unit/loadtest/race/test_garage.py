"""Installing: once for each lock, and a reason where it cannot be done."""

import sys
from pathlib import Path

import pytest

from loadtest.race import garage
from loadtest.race.garage import RIVALS, Garage, NotInstalled, node, npm, versions


def test_locks_name_no_address() -> None:
    """They are for any index and any registry."""
    for lock in (RIVALS / "requirements.txt", RIVALS / "socketio" / "package-lock.json"):
        assert "://" not in lock.read_text().replace("https://opencollective.com", "").replace("https://github.com", "")


def test_versions_are_those_of_the_locks() -> None:
    found = versions()
    assert all(found[name][0].isdigit() for name in ("socket.io", "python-socketio", "channels", "daphne"))


def test_a_failure_is_told_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no registry here')"]
    monkeypatch.setattr(garage, "npm", lambda: failing)
    with pytest.raises(NotInstalled, match="no registry here"):
        Garage(tmp_path).socketio()
    monkeypatch.setattr(garage, "npm", lambda: [str(tmp_path / "nothing")])
    with pytest.raises(NotInstalled, match="nothing"):
        Garage(tmp_path).socketio()


def test_what_is_complete_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's hash tells; the server itself is always the present one."""
    calls: list[str] = []

    def run(argv: list[str], _: Path) -> None:
        calls.append(argv[0])
        (tmp_path / "venv").mkdir(exist_ok=True)

    monkeypatch.setattr(garage, "_run", run)
    for _ in range(2):
        (Garage(tmp_path).socketio() / "server.js").unlink()
    assert len(calls) == 1
    assert Garage(tmp_path).python() == str(tmp_path / "venv" / "bin" / "python")
    installed = len(calls)
    Garage(tmp_path).python()
    assert len(calls) == installed


@pytest.mark.parametrize("is_here", [True, False])
def test_programs_of_the_machine_are_used_and_others_come_with_the_lock(
    is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/bin/{name}" if is_here else None)
    assert (node() == ["/bin/node"]) is is_here
    assert (npm() == ["/bin/npm"]) is is_here


def test_without_uv_pip_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(argv: list[str], folder: Path) -> None:
        calls.append(argv)
        (tmp_path / "venv").mkdir(exist_ok=True)

    monkeypatch.setattr("shutil.which", lambda name, **_: None)
    monkeypatch.setattr(garage, "_run", run)
    Garage(tmp_path).python()
    assert [call[1:3] for call in calls] == [["-m", "venv"], ["-m", "pip"]]
    assert "--require-hashes" in calls[1]
