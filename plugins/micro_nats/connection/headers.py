"""What may stand in a protocol line: subjects, and NATS headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from micro.errors import InvalidName

__all__ = ["check_subject", "format_headers"]

# RFC 7230's token characters; a colon or line end in a name would start another header.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SUBJECT = re.compile(r"[^\s\x00-\x1f\x7f]+")


def check_subject(subject: str) -> None:
    """Check that a subject, pattern or queue can stand in a protocol line.

    Raises:
        InvalidName: it is empty, or has white space, control characters or empty tokens.
    """
    if not _SUBJECT.fullmatch(subject) or "" in subject.split("."):
        raise InvalidName(f"subject {subject!r}: expected dot-separated tokens without blanks")


def format_headers(headers: Mapping[str, str]) -> bytes:
    """Write a NATS header block.

    Raises:
        InvalidName: a name is no token, or a value has a line end.
    """
    lines = ["NATS/1.0"]
    for name, value in headers.items():
        _check_name(name)
        if "\r" in value or "\n" in value or "\0" in value:
            raise InvalidName(f"header {name!r}: a value must be one line")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@lru_cache(maxsize=1024)
def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidName(f"header name {name!r}: expected letters, digits and !#$%&'*+-.^_`|~")
