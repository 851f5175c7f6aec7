"""`make proof` itself: one claim from beginning to end, and that whatever does not hold ends in FAIL."""

import sys

import pytest

from tests.proof import __main__ as proof
from tests.proof.claims import Check, Claim, Ground

# The quickest that starts a server, and looks at it over socket and HTTP.
CLAIM = "P9"


async def _lies(ground: Ground) -> list[Check]:
    del ground
    return [Check("it holds", True), Check("it does not", False)]


async def _falls_over(ground: Ground) -> list[Check]:
    del ground
    raise RuntimeError("the ground gave way")


def run(monkeypatch: pytest.MonkeyPatch, *claims: Claim) -> int:
    monkeypatch.setattr(proof, "CLAIMS", claims)
    monkeypatch.setattr(sys, "argv", ["proof", "--seed", "7"])
    return proof.main()


def claim(run: object) -> Claim:
    assert callable(run)
    return Claim("P0", "a title", "what is claimed", "what was done", run)


def test_one_claim_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = next(each for each in proof.CLAIMS if each.promise == CLAIM)
    assert run(monkeypatch, chosen) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "PASS 1 claim, 8 checks" in said
    assert "✗" not in said
    assert said.rstrip().endswith("seed 7")


@pytest.mark.parametrize("broken, checks", [(_lies, "2 checks"), (_falls_over, "1 check")], ids=["lies", "falls over"])
def test_what_does_not_hold_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: object, checks: str
) -> None:
    assert run(monkeypatch, claim(broken)) == 1
    assert f"FAIL 1 claim, {checks}, 1 failed" in capsys.readouterr().out


def test_every_promise_has_a_claim() -> None:
    """P10 has two halves, others a part for one node and one for several."""
    assert {each.promise for each in proof.CLAIMS} == {f"P{number}" for number in range(1, 11)}
