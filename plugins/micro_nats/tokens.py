"""Names that nobody can guess."""

from __future__ import annotations

import secrets

__all__ = ["fresh_token", "short_token"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def fresh_token() -> str:
    """22 random letters and digits, 131 bits, as long as the inboxes of other NATS clients."""
    return "".join(secrets.choice(_LETTERS) for _ in range(22))


def short_token(number: int) -> str:
    """A number from 0 on, to base 36."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text
