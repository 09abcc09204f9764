"""Names that cannot be guessed, and the subjects that answers may go to."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

__all__ = ["Inboxes", "fresh_token", "short_token", "socket_token"]

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def fresh_token() -> str:
    """Return 22 random letters and digits, 131 bits, as long as other NATS clients' inboxes."""
    return _random_text(22)


def socket_token() -> str:
    """Return 12 random letters and digits, 71 bits, for one socket below an inbox."""
    return _random_text(12)


def short_token(number: int) -> str:
    """Return a number from 0 on to base 36."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text


class Inboxes:
    """Subjects for answers.

    Args:
        prefix: Prefix of the inboxes of this process.
        others: More prefixes that inboxes of peers may have, each a whole number of tokens.
    """

    __slots__ = ("_accepted", "_prefix")

    def __init__(self, prefix: str, others: Iterable[str] = ()) -> None:
        self._prefix = prefix
        self._accepted = ("_", *(f"{each}." for each in (prefix, *others)))

    def new(self) -> str:
        """Return a subject that cannot be guessed, different each time."""
        return f"{self._prefix}.{fresh_token()}"

    def accept(self, subject: str) -> bool:
        """Whether answers may go to `subject`: an inbox, which cannot be a topic.

        An inbox begins with `_`, as `_INBOX` does, and as the subjects do that NATS makes for
        answers to another account; or with one of the prefixes.
        """
        return subject.startswith(self._accepted)


def _random_text(length: int) -> str:
    return "".join([secrets.choice(_LETTERS) for _ in range(length)])
