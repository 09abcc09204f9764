"""Calls that ended at their deadlines: one log line, and an error that says which call it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from micro.client.node import RemoteNode
from micro.client.plan import CallPlan
from micro.concurrency.log_limit import LogLimit
from micro.errors import DeadlineExceeded

__all__ = ["LateCalls"]

_log = logging.getLogger("micro.client")
_MAX_ENDPOINTS = 1024
_OWN_IDS = ("micro.client", "micro.deadline")
_TRACE_PARENT = "traceparent"


class LateCalls:
    """Reports late calls: at most one line a second for each endpoint, the others are counted."""

    def __init__(self) -> None:
        self._limits: dict[tuple[str, str], LogLimit] = {}

    def report(
        self,
        error: DeadlineExceeded,
        plan: CallPlan,
        node: RemoteNode | None,
        started: float,
        headers: Mapping[str, str] | None,
    ) -> DeadlineExceeded:
        """Log a late call; returns the error for its caller.

        Args:
            error: How it ended.
            plan: The call.
            node: The node of the last attempt, if there was one.
            started: When the call began, on the monotonic clock.
            headers: The call's own headers, which may have the trace.
        """
        at = f"node {node.node.id}" if node is not None else "no node reached"
        text = (
            f"{error.detail}: {plan.service} {plan.endpoint} ({at}), "
            f"after {time.monotonic() - started:.3f} s"
        )
        if (suffix := self._limit(plan).admit()) is not None:
            _log.warning("%s%s%s", text, _trace(headers or {}), suffix)
        if error.id not in _OWN_IDS:
            return error  # the node's own error, which says more
        return DeadlineExceeded(text, id=error.id, refused=error.refused)

    def _limit(self, plan: CallPlan) -> LogLimit:
        key = (plan.service, plan.endpoint)
        limit = self._limits.get(key)
        if limit is None:
            if len(self._limits) >= _MAX_ENDPOINTS:
                self._limits.clear()
            limit = self._limits[key] = LogLimit()
        return limit


def _trace(headers: Mapping[str, str]) -> str:
    """The trace id of a W3C `traceparent` header, for the end of a log line."""
    parts = headers.get(_TRACE_PARENT, "").split("-")
    return f", trace {parts[1]}" if len(parts) == 4 else ""
