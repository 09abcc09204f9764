"""What the commands print: tables for people, JSON for programs, and errors on standard error."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence

import click

from micro.errors import DeadlineExceeded, MicroError, UsageError

__all__ = [
    "as_json",
    "as_line",
    "as_value",
    "exit_code",
    "on_terminal",
    "one_line",
    "say",
    "show_body",
    "table",
]


def say(text: str) -> None:
    """Tell the person at the keyboard something, in one line on standard error."""
    click.echo(f"micro: {text}", err=True)


def exit_code(error: MicroError) -> int:
    """The exit code that an error deserves; see `micro.cli`."""
    if isinstance(error, UsageError):
        return 2
    if error.code == DeadlineExceeded.code:
        return 4
    return 3 if error.code == 503 else 1


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns below their heads."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    if on_terminal():
        texts[0] = click.style(texts[0], bold=True)
    return "\n".join(texts)


def as_json(value: object) -> str:
    """Write JSON: indented on a terminal, on one line elsewhere."""
    if on_terminal():
        return json.dumps(value, indent=2, ensure_ascii=False)
    return as_line(value)


def as_value(body: bytes) -> object:
    """What a body holds: JSON, text, or else `{"base64": ...}`."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        return json.loads(text)
    except ValueError:
        return text


def show_body(body: bytes) -> None:
    """Print an answer: JSON indented on a terminal, anything else as it is."""
    if on_terminal():
        value = as_value(body)
        click.echo(value if isinstance(value, str) else as_json(value))
    else:
        click.echo(body.removesuffix(b"\n"))


def one_line(body: bytes) -> str:
    """A body on a line of its own."""
    value = as_value(body)
    if isinstance(value, str) and "\n" not in value:
        return value
    return as_line(value)


def as_line(value: object) -> str:
    """Write JSON on one line, on a terminal, too."""
    return json.dumps(value, ensure_ascii=False)
