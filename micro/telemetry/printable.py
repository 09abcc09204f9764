"""Text that a terminal may be given: what comes from a peer is shown and never obeyed."""

from __future__ import annotations

import json
import re

__all__ = ["printable", "printable_json"]

# Control characters (C0, DEL, C1), which a terminal obeys; line and paragraph separators and
# changes of direction, by which a line can look like another; surrogates, which cannot be written.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text on one line, with escapes in place of what a terminal would obey."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(value: object, *, indent: int | None = None) -> str:
    """JSON with such characters escaped, so that its value stays the same.

    Args:
        value: What to write; an object that JSON does not know is written as text.
        indent: Spaces for each level; all on one line when not given.
    """
    text = json.dumps(value, default=str, ensure_ascii=False, indent=indent)
    # The line ends of an indented text are its own: those of strings are escaped already.
    return "\n".join(
        _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n")
    )
