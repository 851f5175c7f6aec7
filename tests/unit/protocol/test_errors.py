"""protocol/errors.py: the catalogue is whole."""

from protocol.errors import CATALOGUE, ErrorCode


def test_every_code_has_its_facts() -> None:
    """A code without consequences would leave a client guessing."""
    assert list(CATALOGUE) == list(ErrorCode)


def test_the_facts_make_sense() -> None:
    """Statuses are errors, advice is a sentence, and exactly what a server or a rate causes is temporary."""
    for code, facts in CATALOGUE.items():
        assert 400 <= facts.http_status < 600, code
        assert facts.what_to_do.endswith("."), code
        assert facts.temporary == (facts.http_status == 429 or facts.http_status >= 500), code
