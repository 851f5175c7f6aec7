"""What the checker found: how much was weighed, and how often each promise was found broken."""

from typing import Final, Literal

from msgspec import Struct, structs

Fault = Literal[
    "lost",
    "doubled",
    "out_of_order",
    "not_stored",
    "differing",
    "gaps",
    "not_increasing",
    "missed",
    "invented",
    "wrong_unread",
    "wrong_presence",
]


_FINDINGS_MAX: Final = 20


class Report(Struct):
    """What was weighed, and how often each promise was found broken. `findings` names the first of them."""

    clients: int = 0
    matches: int = 0
    stored: int = 0
    shown: int = 0
    acked: int = 0
    duplicates_answered: int = 0
    unanswered: int = 0
    refused: int = 0

    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    not_stored: int = 0
    differing: int = 0
    gaps: int = 0
    not_increasing: int = 0
    missed: int = 0
    invented: int = 0
    wrong_unread: int = 0
    wrong_presence: int = 0
    # Not found by `check`: whoever asks the server or watches it adds these.
    findings: list[str] = []

    def broken(self) -> dict[str, int]:
        """Return the counts that must be zero, by the words a reader understands."""
        return {
            "acked but lost": self.lost,
            "doubled": self.doubled,
            "out of order": self.out_of_order,
            "shown but not stored": self.not_stored,
            "differing": self.differing,
            "gaps in seq": self.gaps,
            "created_at not increasing": self.not_increasing,
            "missed": self.missed,
            "stored but never sent": self.invented,
            "unread told wrong": self.wrong_unread,
            "presence wrong beyond its bound": self.wrong_presence,
        }

    @property
    def faults(self) -> int:
        """The sum of all that must be zero."""
        return sum(self.broken().values())

    def render(self) -> str:
        """Return the report for a reader: what was weighed, what was broken, the first findings."""
        weighed = (
            f"{self.acked} messages acked ({self.duplicates_answered} resent, {self.unanswered} without an answer, "
            f"{self.refused} refused); {self.stored} entries stored in {self.matches} matches; "
            f"{self.shown} shown by {self.clients} clients"
        )
        counts = ", ".join(f"{count} {name}" for name, count in self.broken().items())
        return "\n".join([weighed, counts, *(f"  ! {finding}" for finding in self.findings)])

    def add(self, other: "Report") -> None:
        """Add what another one weighed and found."""
        for name in structs.asdict(other).keys() - {"findings"}:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings = [*self.findings, *other.findings][:_FINDINGS_MAX]

    def found(self, kind: Fault, finding: str, count: int = 1) -> None:
        """Count a fault and keep the first findings."""
        setattr(self, kind, getattr(self, kind) + count)
        if len(self.findings) < _FINDINGS_MAX:
            self.findings.append(f"{kind.replace('_', ' ')}: {finding}")
