"""signaling/quality.py and signaling/words.py."""

import pytest

from protocol.calls import CallId, CallStats, Level, PeerId
from signaling.quality import quality_of
from signaling.words import WORDS, short_words
from tests.support.sdp import FINGERPRINT


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
    """One for each byte, none like another in its first four letters."""
    assert len(WORDS) == 256
    assert len({word[:4] for word in WORDS}) == 256


def test_both_sides_see_the_same_words() -> None:
    """Whoever's fingerprint comes first, and however it is spelt; another call or key gives others."""
    other = FINGERPRINT.replace("00", "FF")
    words = short_words(CallId("c1"), (FINGERPRINT, other))
    assert words == short_words(CallId("c1"), (other.upper().replace("SHA", "sha"), f" {FINGERPRINT.lower()}\r"))
    assert words != short_words(CallId("c2"), (FINGERPRINT, other))
    assert words != short_words(CallId("c1"), (FINGERPRINT, FINGERPRINT))
    # Clients in other languages are held to this.
    assert " ".join(words) == "lizard coffee carbon zebra citrus tower basket kitchen"
