"""What settings are made of beside numbers and text: secrets that do not show, and the error that stops the start."""

import hmac
from collections.abc import Sequence
from typing import Final

HIDDEN: Final = "[secret]"


class Secret:
    """Text that only `reveal` tells: not `repr`, `str`, `format`, a log line, a traceback or a pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself; call it where it is used and keep the result nowhere."""
        return self._text

    def __eq__(self, other: object) -> bool:  # type: ignore[explicit-override]
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:  # type: ignore[explicit-override]
        return hash(self._text)

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return HIDDEN

    def __reduce__(self) -> str:  # type: ignore[explicit-override]
        raise TypeError("a secret is not serialised")


NO_SECRET: Final = Secret("")
# A secret that was not set.


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds one sentence each, the text is one line with all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
