"""The load tester's tokens are good ones."""

import jwt

from loadtest.tokens import sign_token
from tests.support.tokens import SECRET


def test_another_library_accepts_them() -> None:
    """PyJWT finds the user."""
    token = sign_token("Zoë", SECRET, 4_000_000_000)
    assert jwt.decode(token, SECRET, algorithms=["HS256"]) == {"sub": "Zoë", "exp": 4_000_000_000}
