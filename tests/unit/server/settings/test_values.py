"""Secrets do not show."""

import logging
import pickle
import traceback

import pytest
from msgspec import structs

from server.settings import Secret, Settings, SettingsError

PLANTED = "planted-secret-4711"


def test_a_secret_tells_itself_only_when_asked() -> None:
    assert Secret(PLANTED).reveal() == PLANTED


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret(PLANTED) == Secret(PLANTED)
    assert len({Secret(PLANTED), Secret(PLANTED), Secret("other")}) == 2
    assert Secret(PLANTED) != PLANTED


def test_a_secret_shows_nowhere_else() -> None:
    settings = structs.replace(Settings(), token_secrets=(Secret(PLANTED),), api_keys=(Secret(PLANTED),))
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s %r", (settings, settings.token_secrets), None)
    try:
        raise ValueError(settings)
    except ValueError as error:
        told = "".join(traceback.format_exception(error))
    for text in (repr(settings), str(settings), f"{settings.token_secrets[0]}", record.getMessage(), told):
        assert PLANTED not in text
        assert "[secret]" in text


def test_a_secret_is_not_serialised() -> None:
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret(PLANTED))


def test_an_error_is_one_line_with_every_problem() -> None:
    error = SettingsError(["PORT: wrong", "HOST: wrong too"])
    assert str(error) == "PORT: wrong; HOST: wrong too"
    assert error.problems == ("PORT: wrong", "HOST: wrong too")
