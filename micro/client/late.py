"""Calls that ended at their deadlines: one log line, and an error that says which call it was."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from micro.client.plan import CallPlan
from micro.concurrency.log_limit import LogLimit
from micro.deadline import Deadline
from micro.errors import DeadlineExceeded

__all__ = ["LateCalls"]

_log = logging.getLogger("micro.client")
_MAX_ENDPOINTS = 1024
_DEADLINE_SLACK_SECONDS = 0.025
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
        node: str,
        started: float,
        headers: Mapping[str, str] | None,
    ) -> DeadlineExceeded:
        """Log a late call; returns the error for its caller.

        Args:
            error: How it ended.
            plan: The call.
            node: The id of the node of the last attempt; empty if there was none.
            started: When the call began, on the monotonic clock.
            headers: The call's own headers, which may have the trace.
        """
        at = f"node {node}" if node else "no node reached"
        text = (
            f"{error.detail}: {plan.service} {plan.endpoint} ({at}), "
            f"after {time.monotonic() - started:.3f} s"
        )
        if (suffix := self._limit(plan).admit()) is not None:
            _log.warning("%s%s%s", text, _trace(headers or {}), suffix)
        if error.id not in _OWN_IDS:
            return error  # the node's own error, which says more
        return DeadlineExceeded(text, id=error.id, refused=error.refused)

    @asynccontextmanager
    async def watch(
        self,
        plan: CallPlan,
        deadline: Deadline | None,
        *,
        headers: Mapping[str, str],
        reached: Sequence[str],
    ) -> AsyncIterator[None]:
        """Report a stream, open inside the block, that ends at its deadline.

        Args:
            plan: The stream.
            deadline: Its deadline.
            headers: Its own headers, which may have the trace.
            reached: Has the id of its node, once it is open.
        """
        started = time.monotonic()
        try:
            yield
        except DeadlineExceeded as error:
            if deadline is None or deadline.remaining() > _DEADLINE_SLACK_SECONDS:
                raise  # of something else in the block
            late = self.report(error, plan, reached[-1] if reached else "", started, headers)
            if late is error:
                raise
            raise late from None

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
