"""What errors of PostgreSQL's and of its driver mean."""

import asyncpg
import pytest

from server.adapters.postgres.errors import Verdict, ends_connection, judge, name_of


def error(state: str, text: str = "text") -> asyncpg.PostgresError:
    made = asyncpg.PostgresError.new({"C": state, "M": text, "S": "ERROR"})
    assert isinstance(made, asyncpg.PostgresError)
    return made


@pytest.mark.parametrize(
    "state, verdict, ends",
    [
        ("22021", Verdict.ROW, False),
        ("23514", Verdict.ROW, False),
        ("54000", Verdict.ROW, False),
        ("40P01", Verdict.AGAIN, False),
        ("40001", Verdict.AGAIN, False),
        ("57014", Verdict.NOT_STORED, False),
        ("55P03", Verdict.NOT_STORED, False),
        ("53100", Verdict.NOT_STORED, False),
        ("42883", Verdict.NOT_STORED, False),
        ("25006", Verdict.NOT_STORED, True),
        ("57P03", Verdict.NOT_STORED, True),
        ("57P01", Verdict.PERHAPS, True),
        ("08006", Verdict.PERHAPS, True),
        ("40003", Verdict.PERHAPS, True),
        ("XX000", Verdict.PERHAPS, True),
    ],
)
def test_a_state_tells_the_fate_of_a_write_and_of_its_connection(state: str, verdict: Verdict, *, ends: bool) -> None:
    assert (judge(error(state)), ends_connection(error(state))) == (verdict, ends)


@pytest.mark.parametrize(
    "lost", [OSError(), TimeoutError(), asyncpg.InterfaceError("x"), asyncpg.InternalClientError("x")]
)
def test_without_an_answer_it_may_have_happened(lost: Exception) -> None:
    assert (judge(lost), ends_connection(lost)) == (Verdict.PERHAPS, True)
    assert type(lost).__name__ in name_of(lost)


def test_a_missing_month_is_no_fault_of_the_row() -> None:
    assert judge(error("23514", 'no partition of relation "entries" found for row')) is Verdict.PARTITION


def test_what_quotes_a_row_is_not_repeated() -> None:
    assert "private" not in name_of(error("22P02", 'invalid input: "private"'))
    assert "too many clients" in name_of(error("53300", "too many clients"))
