"""The command line: what it prints, and what it ends with."""

import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.result import write_result
from tests.support.load_results import sample_result
from tests.support.private_server import PrivateServer
from tests.support.programs import ROOT, free_port


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take nothing from the caller's environment."""
    for name in ("LOADTEST_API_KEY", "LOADTEST_TOKEN_SECRET", "LOADTEST_AGENT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def ran(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command."""
    monkeypatch.setattr(sys, "argv", ["loadtest", *map(str, arguments)])
    return main()


def test_scenarios_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With what they are about."""
    assert ran(monkeypatch, "scenarios") == 0
    assert "storm " in capsys.readouterr().out


def test_two_results_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """From their files."""
    write_result(sample_result(), tmp_path / "a.json")
    assert ran(monkeypatch, "compare", tmp_path / "a.json", tmp_path / "a.json") == 0
    assert "1.00" in capsys.readouterr().out


def test_a_profile_is_learnt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And printed."""
    assert ran(monkeypatch, "learn", ROOT / "tests/data/sample-chat.txt", "--source", "ours") == 0
    assert 'source = "ours"' in capsys.readouterr().out


def test_a_run_leaves_a_page_and_ends_by_its_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, dev_server: PrivateServer
) -> None:
    """Here a budget that nobody can keep breaks it; the page and the result are there all the same."""
    run = ("run", "chat", "--url", dev_server.ws_url, "--users", 4, "--duration", 3, "--rate", 10, "--late-after", 60)
    assert ran(monkeypatch, *run, "--budget", "p99_ms=0.001", "--out", tmp_path, "--connects-per-s", 50) == 1
    said = capsys.readouterr().out
    assert "BROKEN" in said
    assert "connected" in said
    (page,) = tmp_path.glob("*.html")
    assert "<svg" in page.read_text()
    assert len(list(tmp_path.glob("chat-*.json"))) == 1


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("run", "strom", "--url", "ws://127.0.0.1:1/ws"), "no scenario"),
        (("run", "chat", "--url", "ws://chat.example/ws"), "LOADTEST_API_KEY"),
        (("run", "chat", "--url", "ws://127.0.0.1:1/ws", "--budget", "x=1"), "no budget"),
        (("run", "replay", "--url", "ws://127.0.0.1:1/ws"), "--log"),
        (("run", "chat", "--url", "http://127.0.0.1:8000"), "like ws://127.0.0.1:8000/ws"),
        (("run", "chat", "--url", "ws://127.0.0.1:99999/ws"), "like ws://127.0.0.1:8000/ws"),
        (("run", "chat", "--url", "ws://127.0.0.1:1/ws", "--users", "1"), "--users 2"),
        (("run", "chat", "--url", "ws://127.0.0.1:1/ws", "--agents", "here"), "is not HOST:PORT"),
        (("run", "chat", "--url", "ws://127.0.0.1:1/ws", "--agents", "127.0.0.1:1"), "no agent answers at 127.0.0.1:1"),
        (("run", "chat", "--url", "wss://127.0.0.1:1/ws", "--ca", ROOT / "README.md"), "no certificate"),
        (("run", "media", "--url", "ws://127.0.0.1:1/ws", "--relay", "turn:127.0.0.1:1"), "LOADTEST_RELAY_SECRET"),
        (("compare", "missing.json", "missing.json"), "No such file"),
        (("agent",), "LOADTEST_AGENT_TOKEN"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    """And ends with 2."""
    assert ran(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("loadtest: ")
    assert complaint in error
    assert error.count("\n") == 1


def test_no_relay_is_started_for_a_run_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the command is told before anything is started."""

    def start(folder: Path) -> None:
        raise AssertionError(folder)

    monkeypatch.setattr("loadtest.relay._coturn", start)
    run = ("run", "media", "--url", "ws://127.0.0.1:1/ws", "--relay", "coturn", "--budget", "x=1")
    assert ran(monkeypatch, *run) == 2
    assert "no budget" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the processes of the load were started and ended again."""
    assert ran(monkeypatch, "run", "chat", "--url", f"ws://127.0.0.1:{free_port()}/ws", "--users", 2) == 2
    assert "is the server running" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, value", [("--users", "0"), ("--users", "many"), ("--duration", "-1"), ("--rate", "inf")]
)
def test_a_number_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    """By the option that it was given to."""
    with pytest.raises(SystemExit) as ended:
        ran(monkeypatch, "run", "chat", "--url", "ws://127.0.0.1:1/ws", option, value)
    assert ended.value.code == 2
    assert option in capsys.readouterr().err


def test_a_key_that_the_server_does_not_know_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dev_server: PrivateServer
) -> None:
    """With the variable that holds it."""
    monkeypatch.setenv("LOADTEST_API_KEY", "another-key-that-nobody-knows-1234")
    assert ran(monkeypatch, "run", "chat", "--url", dev_server.ws_url, "--users", 2) == 2
    error = capsys.readouterr().err
    assert "LOADTEST_API_KEY" in error
    assert error.count("\n") == 1
