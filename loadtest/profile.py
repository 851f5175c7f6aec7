"""How people chat, as quantiles: how long messages are, how many come in one turn, when the other answers.

A profile is a small TOML file of ours, learnt from logs of real chat by `python -m loadtest learn` and holding no word of
them. Values are drawn by the inverse of the quantile function, with straight lines between the points.
"""

from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from loadtest.clock import Chance

_PROFILES: Final = resources.files("loadtest") / "profiles"


class Quantiles(Struct, frozen=True):
    """Equally spaced quantiles of something, from the least to the most."""

    points: tuple[float, ...]

    def draw(self, chance: Chance) -> float:
        """Return a value as likely as in what was learnt from."""
        place = chance.random() * (len(self.points) - 1)
        low = int(place)
        share = place - low
        return self.points[low] * (1 - share) + self.points[low + 1] * share

    @property
    def mean(self) -> float:
        """The mean of what is drawn."""
        inner = sum(self.points[1:-1])
        return (inner + (self.points[0] + self.points[-1]) / 2) / (len(self.points) - 1)


class Profile(Struct, frozen=True):
    """What is needed to write like people.

    An exchange is a stretch of talk between pauses; it has turns, a turn has messages of one writer. `typing_per_s`
    is characters a second, which says for how long somebody types before a message is sent.
    """

    source: str
    length_chars: Quantiles
    messages_a_turn: Quantiles
    turns_an_exchange: Quantiles
    within_turn_s: Quantiles
    between_turns_s: Quantiles
    typing_per_s: float = 6.0
    typing_max_s: float = 12.0

    @property
    def messages_an_exchange(self) -> float:
        """How many messages an exchange has, on average."""
        return _whole_mean(self.messages_a_turn) * _whole_mean(self.turns_an_exchange)


def whole(quantiles: Quantiles, chance: Chance) -> int:
    """Draw a number of things, at least one."""
    return max(1, round(quantiles.draw(chance)))


def load_profile(name: str) -> Profile:
    """Read a profile of ours by its name, or a file by its path; raise `OSError` or `msgspec.DecodeError`."""
    ours = _PROFILES / f"{name}.toml"
    text = ours.read_bytes() if ours.is_file() else Path(name).read_bytes()
    return msgspec.toml.decode(text, type=Profile)


def _whole_mean(quantiles: Quantiles) -> float:
    """Return the mean of `whole`, by drawing at the middle of a thousand equal shares."""
    steps = 1000
    return sum(max(1, round(_at(quantiles, (step + 0.5) / steps))) for step in range(steps)) / steps


def _at(quantiles: Quantiles, share: float) -> float:
    place = share * (len(quantiles.points) - 1)
    low = int(place)
    return quantiles.points[low] * (1 - place + low) + quantiles.points[low + 1] * (place - low)
