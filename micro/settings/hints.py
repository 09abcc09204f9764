"""Helps for people: the known name that was likely meant, and values that may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["hide_secrets", "nearest"]

_MAX_SHOWN_CHARS = 80
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*)"
_PLAIN_ADDRESS = re.compile(rf"(?:[a-z]+://)?{_HOST}(?::\d{{1,5}})?/?", re.ASCII)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.7) -> str:
    """The known word that was likely meant, or empty."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def hide_secrets(value: object) -> str:
    """Write a value for an error or a log, without what may be a password.

    Of an address only scheme, host and port are shown; anything else with an `@` or `://` in it
    is hidden as a whole, and long values are cut.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(hide_secrets(item) for item in value)}]"
    text = str(value)
    if "@" in text:
        place = text.rpartition("@")[2]
        return repr(f"***@{place}" if _PLAIN_ADDRESS.fullmatch(place) else "***")
    if "://" in text and not _PLAIN_ADDRESS.fullmatch(text):
        return repr("***")
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN_CHARS else f"{shown[:_MAX_SHOWN_CHARS]}..."
