"""What a server tells its operator: deadlines that passed, and, when wanted, every call."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from micro.concurrency.log_limit import LogLimit
from micro.server.call import Call
from micro.wire.headers import ENDPOINT, METHOD

__all__ = ["Reports", "trace_id_from"]

_log = logging.getLogger("micro.server")
_access = logging.getLogger("micro.access")
_MAX_DEADLINES_LOGGED_PER_SECOND = 5


class Reports:
    """The log lines of one server.

    Args:
        service: The service's name.
        access_log: Whether to write a line for each call.

    Attributes:
        node: The id of the node, once it is known.
        access_log: Whether to write a line for each call.
    """

    __slots__ = ("_deadlines", "_limits", "_service", "access_log", "node")

    def __init__(self, service: str, *, access_log: bool) -> None:
        self.node: str = ""
        self.access_log: bool = access_log
        self._service = service
        self._deadlines = LogLimit(_MAX_DEADLINES_LOGGED_PER_SECOND)
        self._limits = LogLimit()

    def deadline_passed(self, call: Call) -> None:
        """Log a call whose deadline passed, within a bound on such lines."""
        more = self._deadlines.admit()
        if more is None:
            return
        seconds = time.monotonic() - call.since
        stage = "its handler ran" if call.begun else "it waited for its start"
        _log.warning(
            "%s of %s (node %s): the deadline passed after %.3fs, while %s%s%s",
            call.mounted.endpoint.name,
            self._service,
            self.node or "?",
            seconds,
            stage,
            _trace_suffix(call.headers),
            more,
        )

    def limit_reached(self, call: Call, reason: str) -> None:
        """Log that calls are refused at a limit, within a bound on such lines."""
        more = self._limits.admit()
        if more is not None:
            name = call.mounted.endpoint.name
            _log.warning("%s of %s was refused: %s%s", name, self._service, reason, more)

    def refused(self, headers: Mapping[str, str], peer: str, code: int) -> None:
        """Write the access line of a request that was refused before it was a call."""
        if self.access_log:
            name = headers.get(ENDPOINT) or headers.get(METHOD, "")
            self._write_access(name, code, 0.0, peer, headers)

    def ended(self, call: Call) -> None:
        """Write the access line of a call that has ended."""
        seconds = time.monotonic() - call.since
        name, peer = call.mounted.endpoint.name, call.replies.remote
        self._write_access(name, call.code, seconds, peer, call.headers)

    def _write_access(
        self, endpoint: str, code: int, seconds: float, peer: str, headers: Mapping[str, str]
    ) -> None:
        trace = _trace_suffix(headers)
        _access.info("%.200s %d %.1fms from %s%s", endpoint, code, seconds * 1000, peer, trace)


def trace_id_from(headers: Mapping[str, str]) -> str:
    """The trace id of a `traceparent` header (W3C Trace Context), in any case; else empty."""
    for name in ("traceparent", "Traceparent"):
        parts = headers.get(name, "").split("-")
        if len(parts) >= 4 and len(parts[1]) == 32:
            return parts[1]
    return ""


def _trace_suffix(headers: Mapping[str, str]) -> str:
    trace = trace_id_from(headers)
    return f", trace {trace}" if trace else ""
