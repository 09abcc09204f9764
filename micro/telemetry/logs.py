"""Log output of a program that runs services: lines for a terminal, or JSON for a collector.

Only `run()` and the `micro` command set logging up; a library that does so takes it from its user.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

from opentelemetry import trace

from micro.context import ambient_context

__all__ = ["JsonFormatter", "TextFormatter", "setup_logging"]

_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def setup_logging(
    level: str = "info",
    format: str = "text",
    *,
    service: str = "",
    version: str = "",
    node: str = "",
    stream: TextIO | None = None,
) -> None:
    """Send log records to standard error; a further call replaces what this one set up.

    A program that has given the root logger handlers of its own keeps them, and its root level.

    Args:
        level: The least important level to show.
        format: `text` or `json`.
        service: The service's name, where no handler's context tells one.
        version: Its version.
        node: Its node's id.
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
        handler.setFormatter(JsonFormatter(service=service, version=version, node=node))
    else:
        handler.setFormatter(TextFormatter(service=service, colour=_wants_colour(handler.stream)))
    root.addHandler(handler)
    root.setLevel(number)


_NAME = "micro"


class TextFormatter(logging.Formatter):
    """`12:34:56.789 INFO    points  message`, and a traceback below it.

    Control characters, which may come from a peer, are shown and not obeyed; further lines are
    indented, so that no message can pass for two.

    Args:
        service: The service's name, where no handler's context tells one.
        colour: Whether to colour the level.
    """

    def __init__(self, *, service: str = "", colour: bool = False) -> None:
        super().__init__()
        self._service = service
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        stamp, level = f"{clock}.{int(record.msecs):03d}", f"{record.levelname:<8}"
        if self._colour:
            colour = _COLOURS.get(record.levelno, "")
            stamp, level = f"{_DIM}{stamp}{_RESET}", f"{colour}{level}{_RESET}"
        who = _service_of(self._service) or record.name
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text).replace("\n", "\n    ")
        return f"{stamp} {level} {who:<14} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, service, version, node, trace_id.

    What a call to the logger adds with `extra` is there, too. Fields without a value are left out.

    Args:
        service: The service's name, where no handler's context tells one.
        version: Its version.
        node: Its node's id.
    """

    def __init__(self, *, service: str = "", version: str = "", node: str = "") -> None:
        super().__init__()
        self._service = service
        self._version = version
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "service": _service_of(self._service),
            "version": self._version,
            "node": self._node,
            "trace_id": _trace_id(),
        }
        fields = {name: value for name, value in fields.items() if value}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return json.dumps({**extra, **fields}, default=str, ensure_ascii=False)


def _service_of(default: str) -> str:
    context = ambient_context.get()
    return default if context is None else context.service


def _trace_id() -> str:
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else ""


def _wants_colour(stream: TextIO) -> bool:
    """A terminal, unless `NO_COLOR` is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
