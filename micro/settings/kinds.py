"""The types of settings that pydantic does not have: durations, sizes, addresses, pairs.

Each takes a typed value as well as text, since a setting may come from code, a file, a variable
or a flag. Reading a value twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from micro.concurrency.units import read_duration, read_size, show_size
from micro.errors import InvalidName
from micro.names import check_service

__all__ = [
    "Addresses",
    "Count",
    "CountOrZero",
    "Duration",
    "DurationOrZero",
    "LogLevel",
    "Pairs",
    "ServiceName",
    "Size",
    "Switch",
    "Syntax",
    "Text",
    "Word",
    "read_duration",
    "read_size",
    "show_size",
]


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a value is written; part of a setting's type.

    Attributes:
        placeholder: Stands for a value in the help.
        expected: Completes `expected ...` in an error.
    """

    placeholder: str
    expected: str


MIN_SIZE_BYTES = 1 << 10


def _size(value: object) -> object:
    found = read_size(value)
    return _whole(found) if found is value else found


def _whole(value: object) -> object:
    """Refuse what pydantic would round or convert without a word: 2.0, true."""
    if isinstance(value, bool | float):
        raise ValueError("not a whole number")
    return value


def _positive(seconds: float) -> float:
    if not seconds:
        raise ValueError("zero")
    return seconds


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text.strip()


def _service_name(name: str) -> str:
    try:
        return check_service(name) if name else ""
    except InvalidName as error:
        raise ValueError(error.detail) from error


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _log_level(value: object) -> object:
    return {"trace": "debug", "warn": "warning", "fatal": "critical"}.get(str(value), value)


def _split_addresses(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError("not a list")
    return tuple(part for text in texts for part in _parts_of(text))


def _parts_of(text: object) -> list[str]:
    """Split addresses at commas; a comma may also be part of a password that was not encoded.

    Credentials after a comma need a scheme before them. Without it they may be the end of a
    password: `nats://ann:pass,word@host`, `nats://ann:p@ss,word@host`.
    """
    if not isinstance(text, str):
        raise ValueError("not text")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if any(not part.isprintable() or " " in part for part in parts):
        raise ValueError("spaces or control characters")
    if any("@" in part and "://" not in part.partition("@")[0] for part in parts[1:]):
        raise ValueError("a comma in a password")
    return parts


def _split_pairs(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        if not all(isinstance(item, str | int | float) for item in value.values()):
            raise ValueError("a value that is not text or a number")
        return {str(key): _as_text(item) for key, item in value.items()}
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError("not pairs")
    pairs = {}
    for text in (part for item in texts for part in str(item).split(",") if part.strip()):
        key, equals, item = text.partition("=")
        if not equals or not key.strip():
            raise ValueError("no key, or no '='")
        pairs[key.strip()] = item.strip()
    return pairs


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_YEAR = "at most a year, such as 500ms, 5s or 1m"

Text = Annotated[str, AfterValidator(_printable), Syntax("TEXT", "text without control characters")]
ServiceName = Annotated[
    str,
    AfterValidator(_printable),
    AfterValidator(_service_name),
    Syntax("NAME", "dot-separated tokens of letters, digits, '_' and '-'"),
]
Switch = Annotated[bool, Syntax("", "true or false")]
Word: BeforeValidator = BeforeValidator(_lower)
"""Makes a `Literal` accept any case."""
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(_log_level),
    Word,
]
DurationOrZero = Annotated[
    float,
    BeforeValidator(read_duration),
    Syntax("DURATION", f"a duration, 0 or more and {_YEAR}"),
]
Duration = Annotated[
    float,
    BeforeValidator(read_duration),
    AfterValidator(_positive),
    Syntax("DURATION", f"a duration, more than 0 and {_YEAR}"),
]
CountOrZero = Annotated[
    int, BeforeValidator(_whole), Field(ge=0), Syntax("NUMBER", "a whole number, 0 or more")
]
Count = Annotated[
    int, BeforeValidator(_whole), Field(ge=1), Syntax("NUMBER", "a whole number, 1 or more")
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=MIN_SIZE_BYTES),
    Syntax("SIZE", "a size, 1KiB or more, such as 65536, 512KiB or 64MiB"),
]
Addresses = Annotated[
    tuple[str, ...],
    BeforeValidator(_split_addresses),
    Syntax(
        "ADDRESS,...",
        "comma-separated addresses without spaces;"
        " percent-encode special characters in a password (a comma is %2C),"
        " and begin each address that has one with its scheme",
    ),
]
Pairs = Annotated[
    Mapping[str, str],
    BeforeValidator(_split_pairs),
    AfterValidator(MappingProxyType),
    Syntax("KEY=VALUE", "pairs such as zone=a,rack=7"),
]
