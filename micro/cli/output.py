"""What the commands print: tables for people, JSON for programs, and errors on standard error.

Nothing that comes from a peer reaches a terminal as a control character.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable, Sequence

import click

from micro.errors import DeadlineExceeded, MicroError, UsageError
from micro.telemetry.printable import printable, printable_json

__all__ = [
    "as_json",
    "as_line",
    "as_value",
    "exit_code",
    "on_terminal",
    "one_line",
    "say",
    "show_body",
    "show_error",
    "table",
]


def say(text: str) -> None:
    """Print a line about the command itself on standard error."""
    click.echo(f"micro: {printable(text)}", err=True)


def show_error(error: MicroError) -> None:
    """Print an error on standard error, in one line."""
    if isinstance(error, UsageError):
        say(error.detail)
    else:
        click.echo(printable(f"{error.code} {error.status}: {error.detail}"), err=True)


def exit_code(error: MicroError) -> int:
    """The exit code for an error; see `micro.cli`."""
    if isinstance(error, UsageError):
        return 2
    if error.code == DeadlineExceeded.code:
        return 4
    return 3 if error.code == 503 else 1


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align rows in columns below their heads."""
    lines = [tuple(head), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    # no-color.org
    if on_terminal() and not os.environ.get("NO_COLOR"):
        texts[0] = click.style(texts[0], bold=True)
    return "\n".join(texts)


def as_json(value: object) -> str:
    """Write JSON: indented on a terminal, on one line elsewhere."""
    return printable_json(value, indent=2 if on_terminal() else None)


def as_line(value: object) -> str:
    """Write JSON on one line, on a terminal, too."""
    return printable_json(value)


def as_value(body: bytes) -> object:
    """What a body holds: JSON, text, or else `{"base64": ...}`."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def show_body(body: bytes) -> None:
    """Print an answer: for people on a terminal, byte for byte elsewhere."""
    if not on_terminal():
        click.echo(body.removesuffix(b"\n"))
        return
    value = as_value(body)
    if isinstance(value, str):
        click.echo("\n".join(map(printable, value.split("\n"))))
    else:
        click.echo(as_json(value))


def one_line(body: bytes) -> str:
    """A body on a line of its own; text with control characters becomes a JSON string."""
    value = as_value(body)
    if isinstance(value, str) and printable(value) == value:
        return value
    return as_line(value)
