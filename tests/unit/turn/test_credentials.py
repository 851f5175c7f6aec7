"""Credentials that end: the bytes that relays check, and what they give away."""

import hmac
import re
from base64 import b64decode

from protocol.ids import Micros, UserId
from turn.credentials import ephemeral, subject_of

SECRET = "north-a-secret-of-the-tests"


def test_the_password_is_the_names_hmac() -> None:
    """As draft-uberti-behave-turn-rest-00 section 2.2 has it; `openssl dgst -sha1 -hmac north` says the same."""
    credential = ephemeral("north", "433895", Micros(1_433_895_918_506_000))
    assert credential.username == "1433895918:433895"
    assert b64decode(credential.password) == hmac.new(b"north", b"1433895918:433895", "sha1").digest()
    assert credential.password == "h57Nmv3NnjrFo99CDue5oJg/Ej0="


def test_the_password_does_not_show() -> None:
    credential = ephemeral(SECRET, "subject", Micros(0))
    assert credential.password not in repr(credential)


def test_a_subject_stays_and_tells_nobody() -> None:
    alice = subject_of(SECRET, UserId("alice"))
    assert alice == subject_of(SECRET, UserId("alice"))
    assert re.fullmatch("[0-9a-f]{16}", alice)
    others = {subject_of(SECRET, UserId("bob")), subject_of("another-secret-of-the-tests", UserId("alice"))}
    assert alice not in others
    assert len(others) == 2
