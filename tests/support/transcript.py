"""A core's test as a transcript: `play >> input` hands it something, `play << expected` says all that came of it.

Nothing may go unsaid: what an input led to must be expected before the next input, and before the end of the test.
"""

from collections.abc import Callable, Iterable
from typing import Generic, Self, TypeVar

Input = TypeVar("Input")
Outcome = TypeVar("Outcome")


class Transcript(Generic[Input, Outcome]):
    """Plays inputs to `perform`, which returns what should happen."""

    __slots__ = ("_outcomes", "_perform")

    def __init__(self, perform: Callable[[Input], Iterable[Outcome]]) -> None:
        self._perform = perform
        self._outcomes: tuple[Outcome, ...] = ()

    def __rshift__(self, given: Input) -> Self:
        """Hand over one input; what came of those before has been expected by now."""
        self.end()
        self._outcomes = tuple(self._perform(given))
        return self

    def __lshift__(self, expected: Outcome | tuple[Outcome, ...]) -> Self:
        """Compare everything that came of the last input; `()` for nothing."""
        outcomes, self._outcomes = self._outcomes, ()
        assert outcomes == (expected if isinstance(expected, tuple) else (expected,))
        return self

    def end(self) -> None:
        """Nothing came that was not expected."""
        assert self._outcomes == (), "this came unexpected"
