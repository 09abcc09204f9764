"""Log output of a program that runs services: lines for a terminal, or JSON for a collector.

Only `run()` and the `micro` command set logging up; a library leaves that to its user.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from opentelemetry import trace

from micro.context import ambient_context
from micro.telemetry.printable import printable, printable_json

__all__ = ["JsonFormatter", "TextFormatter", "log_as", "setup_logging"]

_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """The service that log lines are about."""

    service: str = ""
    version: str = ""
    node: str = ""


_UNKNOWN = _Identity()
_identity: ContextVar[_Identity] = ContextVar("log_identity", default=_UNKNOWN)


@contextmanager
def log_as(*, service: str, version: str, node: str) -> Iterator[None]:
    """Put a service's identity on the log lines of the block, and of tasks that start in it.

    Args:
        service: The service's name.
        version: Its version.
        node: Its node's id.
    """
    token = _identity.set(_Identity(service=service, version=version, node=node))
    try:
        yield
    finally:
        _identity.reset(token)


def setup_logging(
    level: str = "info", format: str = "text", *, stream: TextIO | None = None
) -> None:
    """Send log records to standard error; a further call replaces what this one set up.

    A program that has given the root logger handlers of its own keeps them, and its root level.

    Args:
        level: The least important level to show.
        format: `text` or `json`.
        stream: Where to write, instead of standard error.
    """
    root = logging.getLogger()
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("micro").setLevel(number)
    for handler in root.handlers[:]:
        if handler.get_name() == _NAME:
            root.removeHandler(handler)
    if root.handlers:
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_NAME)
    if format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(colour=_wants_colour(handler.stream)))
    root.addHandler(handler)
    root.setLevel(number)


_NAME = "micro"


class TextFormatter(logging.Formatter):
    """`12:34:56.789 INFO    points  message`, and a traceback below it.

    Control characters, which may come from a peer, are escaped; further lines are indented, so
    that no message can pass for two.

    Args:
        colour: Whether to colour the level.
    """

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        stamp, level = f"{clock}.{int(record.msecs):03d}", f"{record.levelname:<8}"
        if self._colour:
            colour = _COLOURS.get(record.levelno, "")
            stamp, level = f"{_DIM}{stamp}{_RESET}", f"{colour}{level}{_RESET}"
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = "\n    ".join(printable(line) for line in text.split("\n"))
        return f"{stamp} {level} {_service() or record.name:<14} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, service, version, node, trace, span.

    What a call to the logger adds with `extra` is there, too. Fields without a value are left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        identity = _identity.get()
        trace_id, span_id = _trace_ids()
        fields: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "service": _service(),
            "version": identity.version,
            "node": identity.node,
            "trace_id": trace_id,
            "span_id": span_id,
        }
        fields = {name: value for name, value in fields.items() if value}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return printable_json({**extra, **fields})


def _service() -> str:
    context = ambient_context.get()
    return _identity.get().service if context is None else context.service


def _trace_ids() -> tuple[str, str]:
    """The current trace and span; without an SDK, those that came with the call or event."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    context = ambient_context.get()
    headers = {} if context is None else context.headers
    # go-micro writes `Traceparent`, the tracing layer `traceparent`.
    header = next((value for name, value in headers.items() if name.lower() == "traceparent"), "")
    found = _TRACEPARENT.fullmatch(header)
    return (found[1], found[2]) if found else ("", "")


def _wants_colour(stream: TextIO) -> bool:
    """A terminal, unless `NO_COLOR` is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
