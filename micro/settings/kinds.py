"""Kinds of settings: what each accepts, whether typed, written as text or read from a file.

A reader takes whatever a source had and returns the value, or raises ValueError saying what it
expects; who asks adds where the value came from. Reading a value twice changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType

from micro.errors import InvalidName
from micro.names import check_service

__all__ = [
    "ADDRESSES",
    "PAIRS",
    "SERVICE_NAME",
    "SWITCH",
    "TEXT",
    "Kind",
    "choice",
    "count",
    "duration",
    "hide_secrets",
    "nearest",
    "read_duration",
    "shown_size",
    "size",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a setting accepts.

    Attributes:
        read: Turns what a source had into the value; raises ValueError with what it expects.
        placeholder: The word for a value in the help.
        repeats: Whether a flag given again adds to the one before it.
        switch: Whether a flag stands alone, `--name` or `--no-name`.
    """

    read: Callable[[object], object]
    placeholder: str
    repeats: bool = False
    switch: bool = False


def choice(*names: str, also: Mapping[str, str] = MappingProxyType({})) -> Kind:
    """One of some words, in any case.

    Args:
        names: The words.
        also: Other spellings, and the word that each stands for.
    """
    return Kind(read=partial(_read_choice, names, also), placeholder="|".join(names))


def count(least: int) -> Kind:
    """A whole number, `least` or more."""
    return Kind(read=partial(_read_count, least), placeholder="NUMBER")


def duration(*, zero: bool = False) -> Kind:
    """Seconds as a float: a number, or text such as `500ms`, `5s`, `1m30s`.

    Args:
        zero: Whether no time at all is allowed.
    """
    return Kind(read=partial(read_duration, zero=zero), placeholder="DURATION")


def size(min_bytes: int) -> Kind:
    """Bytes as an int: a whole number, or text such as `512KiB`, `64MiB`, `1GiB`."""
    return Kind(read=partial(_read_size, min_bytes), placeholder="SIZE")


def shown_size(number: int) -> str:
    """A number of bytes in the largest unit that divides it."""
    for unit, scale in sorted(_SIZE_UNITS.items(), key=lambda item: -item[1]):
        if unit and number and number % scale == 0:
            return f"{number // scale}{unit}"
    return str(number)


def read_duration(value: object, *, zero: bool = False) -> float:
    """Read what `duration` accepts.

    Raises:
        ValueError: it is none; the text says what is expected.
    """
    seconds = _seconds(value)
    if 0 <= seconds <= _YEAR and (zero or seconds > 0):
        return seconds
    bound = "0 or more" if zero else "more than 0"
    raise ValueError(f"a duration, {bound} and at most a year, such as 500ms, 5s or 1m")


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was likely meant, or empty."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.7)), "")


def hide_secrets(text: str) -> str:
    """Take all that stands before the last `@` out of an address: it may be a password."""
    return f"***{text[text.rindex('@') :]}" if "@" in text else text


_YEAR = 365 * 86_400.0
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_STEP = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_STEP.pattern})+")
_SIZE_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,18})\s*(KiB|MiB|GiB)?", re.ASCII)
_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _read_text(value: object) -> str:
    if isinstance(value, str) and value.isprintable():
        return value.strip()
    raise ValueError("text without control characters")


def _read_service(value: object) -> str:
    text = _read_text(value)
    try:
        return check_service(text) if text else ""
    except InvalidName:
        raise ValueError("letters, digits, '_' and '-' in tokens parted by dots") from None


def _read_choice(names: tuple[str, ...], also: Mapping[str, str], value: object) -> str:
    word = str(value).strip().lower()
    word = also.get(word, word)
    if word in names:
        return word
    hint = nearest(word, names)
    raise ValueError(f"one of {', '.join(names)}" + (f" (did you mean {hint}?)" if hint else ""))


def _read_count(least: int, value: object) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if isinstance(number, int) and not isinstance(number, bool) and number >= least:
        return number
    raise ValueError(f"a whole number, {least} or more")


def _read_size(min_bytes: int, value: object) -> int:
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number = int(found[1]) * _SIZE_UNITS[found[2] or ""] if found else value
    if isinstance(number, int) and not isinstance(number, bool) and number >= min_bytes:
        return number
    raise ValueError(f"a size, {shown_size(min_bytes)} or more, such as 65536, 512KiB or 64MiB")


def _seconds(value: object) -> float:
    if isinstance(value, str):
        text = value.strip()
        if _DURATION.fullmatch(text):
            return sum(float(number) * _UNITS[unit] for number, unit in _STEP.findall(text))
        try:
            return float(text)
        except ValueError:
            return math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        # An int too large for a float is as far beyond the bound as infinity.
        return float(value) if abs(value) < 1e300 else math.inf
    return math.nan


def _read_switch(value: object) -> bool:
    word = _WORDS.get(str(value).strip().lower())
    if word is None:
        raise ValueError("true or false")
    return word


def _read_addresses(value: object) -> tuple[str, ...]:
    """Addresses as the plugin will read them; here only blanks and control characters are bad."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError(_ADDRESSES)
    found: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(_ADDRESSES)
        found += [part.strip() for part in text.split(",") if part.strip()]
    if any(not part.isprintable() or " " in part for part in found):
        raise ValueError(_ADDRESSES)
    return tuple(found)


def _read_pairs(value: object) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
        if all(isinstance(item, str | int | float) for _, item in pairs):
            return MappingProxyType({key: _plain(item) for key, item in pairs})
        raise ValueError(_PAIRS)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError(_PAIRS)
    found = {}
    for text in (part for item in texts for part in str(item).split(",") if part.strip()):
        key, equals, item = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(_PAIRS)
        found[key.strip()] = item.strip()
    return MappingProxyType(found)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_ADDRESSES = "addresses parted by commas, without blanks"
_PAIRS = "pairs such as zone=a,rack=7"

TEXT = Kind(read=_read_text, placeholder="TEXT")
SERVICE_NAME = Kind(read=_read_service, placeholder="NAME")
SWITCH = Kind(read=_read_switch, placeholder="", switch=True)
ADDRESSES = Kind(read=_read_addresses, placeholder="ADDRESS,...")
PAIRS = Kind(read=_read_pairs, placeholder="KEY=VALUE", repeats=True)
