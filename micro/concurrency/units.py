"""Durations and sizes as numbers or text, and where the code is that gave them."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

__all__ = ["MAX_DURATION_SECONDS", "read_duration", "read_size", "show_size", "where"]

MAX_DURATION_SECONDS = 365 * 86_400.0
_SECONDS_PER_UNIT = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
}
_DURATION_STEP = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_STEP.pattern})+", re.ASCII)
_BYTES_PER_UNIT = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "": 1}
_SIZE = re.compile(r"(\d{1,18}) ?(KiB|MiB|GiB)?", re.ASCII)


def read_duration(value: object) -> float:
    """Read a duration as seconds: a number, text such as `500ms` or `1m30s`, or a timedelta.

    Raises:
        ValueError: it is none of these, negative, or more than a year.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str) and _DURATION.fullmatch(text := value.strip()):
        steps = _DURATION_STEP.findall(text)
        seconds = sum(float(number) * _SECONDS_PER_UNIT[unit] for number, unit in steps)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError as error:
            raise ValueError("more than a year") from error
    else:
        raise ValueError("not a duration")
    if not 0 <= seconds <= MAX_DURATION_SECONDS:
        raise ValueError("negative, or more than a year")
    return seconds


def read_size(value: object) -> object:
    """Read text such as `512KiB` as bytes; leave any other value as it is."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(found[1]) * _BYTES_PER_UNIT[found[2] or ""] if found else value


def show_size(size: int) -> str:
    """Write bytes in the largest unit that divides them."""
    unit, scale = next(item for item in _BYTES_PER_UNIT.items() if size % item[1] == 0)
    return f"{size // scale}{unit}"


def where(*modules: str) -> str:
    """The file and line of the code that called into these modules, for the texts of errors."""
    frame = sys._getframe(1)
    skipped = (__name__, "typing", *modules)
    while frame.f_back is not None and frame.f_globals.get("__name__") in skipped:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
