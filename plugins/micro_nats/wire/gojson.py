"""JSON byte for byte as Go's encoding/json writes it: no blanks, `<`, `>` and `&` escaped."""

from __future__ import annotations

import re

from pydantic_core import to_json

__all__ = ["go_json"]

_ESCAPED = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")
_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}


def go_json(value: object) -> bytes:
    """Write a value; the keys of a Go map are sorted, so the caller sorts them.

    Raises:
        ValueError: it cannot be JSON, or its text cannot be UTF-8.
    """
    text = to_json(value)
    return _ESCAPED.sub(_escape, text) if _ESCAPED.search(text) else text


def _escape(found: re.Match[bytes]) -> bytes:
    return _ESCAPES[found.group()]
