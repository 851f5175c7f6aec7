"""The command line of `python -m turn`: what it prints, what it refuses, how it ends."""

import builtins
import re
import runpy
import shlex
import sys
from collections.abc import Callable

import pytest

from tests.support.programs import ROOT
from turn.tool.command import main

SECRET = "planted-3f9a1c7d5e2b"
LEAST = ("config", "--realm", "calls.test", "--relay-ip", "198.51.100.7")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN_SERVER_URL", "STUN_SERVER_URL", "TURN_SECRETS", "TURN_REALM", "TURN_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "planted" not in error
    return error.removeprefix("turn: ").rstrip("\n")


def test_config_writes_the_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURN_SERVER_URL", "turn:t")
    monkeypatch.setenv("TURN_SECRETS", SECRET)
    more = (
        "--external-ip",
        "8.8.4.4",
        "--deny",
        "9.9.9.0/24",
        "--cert",
        "/c.pem",
        "--key",
        "/k.pem",
        "--tls-port",
        "443",
    )
    assert main([*LEAST, *more, "--ports", "50000-50100", "--coturn-version", "4.17.1"]) == 0
    written = capsys.readouterr().out.splitlines()
    for line in (
        "realm=calls.test",
        f"static-auth-secret={SECRET}",
        "external-ip=8.8.4.4/198.51.100.7",
        "denied-peer-ip=9.9.9.0-9.9.9.255",
        "tls-listening-port=443",
        "min-port=50000",
        "max-port=50100",
        "unauthorized-ratelimit",
    ):
        assert line in written


def test_config_takes_realm_and_redis_of_the_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURN_REALM", "calls.test")
    monkeypatch.setenv("TURN_REDIS_URL", "redis://:p%C3%A4%21@10.0.0.9:6380/2")
    assert (
        refused(capsys, "config", *LEAST[3:])
        == "TURN_REDIS_URL: a password with characters that coturn's file cannot carry"
    )
    monkeypatch.setenv("TURN_REDIS_URL", "redis://:p%21@10.0.0.9:6380/2")
    assert main(["config", *LEAST[3:]]) == 0
    assert 'redis-userdb="ip=10.0.0.9 dbname=2 password=p! port=6380 connect_timeout=5"' in capsys.readouterr().out
    monkeypatch.setenv("TURN_REDIS_URL", "redis://cache")
    assert main(["config", *LEAST[3:]]) == 0
    assert '"ip=cache dbname=0 port=6379 connect_timeout=5"' in capsys.readouterr().out


@pytest.mark.parametrize("url", ["rediss://cache", "redis://", "redis://cache:port", "redis://cache/two", "redis://["])
def test_coturn_knows_few_ways_to_redis(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURN_REDIS_URL", url)
    assert refused(capsys, *LEAST).startswith("TURN_REDIS_URL: coturn's files know redis://")


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (("config", "--relay-ip", "10.0.0.7"), "TURN_REALM: is not set; or give --realm turn.example.org"),
        ((*LEAST, "--realm", "a b"), "--realm: 'a b' has a character that coturn's file cannot carry"),
        ((*LEAST, "--relay-ip", "turn.example.org"), "--relay-ip: 'turn.example.org' is no IP address"),
        ((*LEAST, "--external-ip", "300.1.1.1"), "--external-ip: '300.1.1.1' is no IP address"),
        ((*LEAST, "--deny", "10.0.0.1/8"), "--deny: '10.0.0.1/8' is no address and no network like 198.51.100.0/24"),
        ((*LEAST, "--cert", "c.pem"), "--cert and --key: give both or none"),
        ((*LEAST, "--port", "0"), "--port: 0 is no port"),
        ((*LEAST, "--ports", "49152"), "--ports: '49152' is not like 49152-65535"),
        ((*LEAST, "--ports", "60000-50000"), "--ports: '60000-50000' is not like 49152-65535"),
        ((*LEAST, "--user-quota", "0"), "--user-quota: 0 is not at least 1"),
        ((*LEAST, "--coturn-version", "4.5.2"), "--coturn-version: '4.5.2' is not like 4.6.1, the oldest that is known here"),
        ((*LEAST, "--coturn-version", "new"), "--coturn-version: 'new' is not like 4.6.1, the oldest that is known here"),
        (("check",), "TURN_SERVER_URL: is not set, so there is nothing to check"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_cannot_be_used(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *arguments) == problem


def test_settings_that_cannot_be_used(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURN_SERVER_URL", "turn://planted@t")
    assert "names and passwords do not belong" in refused(capsys, "check")


def test_check_needs_aioice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUN_SERVER_URL", "stun:s")
    real: Callable[..., object] = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "turn.tool.check":
            raise ImportError("No module named 'aioice'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    problem = refused(capsys, "check")
    assert problem == "`check` needs the packages of requirements/loadtest.txt (No module named 'aioice')"


def test_a_file_of_certificates_has_to_be_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUN_SERVER_URL", "stun:s")
    assert (
        refused(capsys, "check", "--ca-file", "/no/such") == "--ca-file: cannot use /no/such: No such file or directory"
    )


def test_it_is_a_module_that_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["turn", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("turn", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert "check" in capsys.readouterr().out


def test_the_sample_is_what_the_documented_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/operations.md has the command, deploy/coturn its output."""
    document = (ROOT / "docs/operations.md").read_text("utf-8")
    command = re.search(r"python -m turn (config .*?)> deploy/coturn/turnserver\.conf", document, re.DOTALL)
    assert command is not None
    assert main(shlex.split(command[1].replace("\\\n", " "))) == 0
    assert capsys.readouterr().out == (ROOT / "deploy/coturn/turnserver.conf").read_text("utf-8")
