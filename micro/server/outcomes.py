"""What a call that did not succeed ends with: its answer, its count and its log line.

This is the boundary of user code. No exception of a handler passes it, and each one ends in an
answer; only a KeyboardInterrupt ends the process, as if it had come from the terminal.
"""

from __future__ import annotations

import logging
import signal

from micro.errors import (
    DeadlineExceeded,
    InternalError,
    MicroError,
    PayloadTooLarge,
    ResourceExhausted,
    Unavailable,
    UsageError,
)
from micro.server.answers import ReplyTooLarge, UnsendableReply, as_answer
from micro.server.call import Call, Replies
from micro.server.reports import Reports
from micro.telemetry.metrics import ServerCounters
from micro.wire.headers import ENDPOINT, PROBE_ENDPOINT

__all__ = ["Outcomes"]

_log = logging.getLogger("micro.server")
_CANCELLED_CODE = 499
_RETRY_AFTER_SECONDS = 0.1
_DEADLINE_SLACK_SECONDS = 0.025


class Outcomes:
    """Answers for the calls of one server that were refused or failed.

    Args:
        service: The service's name, the `id` of its errors.
        counters: Where they are counted.
        reports: Where they are logged.
    """

    __slots__ = ("_counters", "_reports", "_service")

    def __init__(self, service: str, counters: ServerCounters, reports: Reports) -> None:
        self._service = service
        self._counters = counters
        self._reports = reports

    def refuse(self, replies: Replies, headers: dict[str, str], error: MicroError) -> None:
        """Answer a request that does not become a call."""
        error.id = self._service
        error.refused = True
        if headers.get(ENDPOINT) != PROBE_ENDPOINT:
            self._counters.refused += 1
            self._reports.refused(headers, replies.remote, error.code)
        replies.refuse(headers, error)

    def refuse_late(self, call: Call) -> None:
        """Answer a call whose deadline passed before its handler was started."""
        self._counters.expired += 1
        self._reports.deadline_passed(call)
        late = DeadlineExceeded("the request waited too long")
        self._refuse_call(call, late)

    def refuse_busy(self, call: Call, reason: str, retry_after: float = 0.0) -> None:
        """Answer a call for which there is no capacity.

        Args:
            call: The call.
            reason: Which limit was reached.
            retry_after: Seconds until another try is sensible, if they are known.
        """
        self._counters.refused += 1
        self._reports.limit_reached(call, reason)
        seconds = max(_RETRY_AFTER_SECONDS, retry_after)
        detail = f"{self._service} is at its limit: {reason}"
        self._refuse_call(call, ResourceExhausted(detail, retry_after=seconds))

    def refuse_stopping(self, call: Call) -> None:
        """Answer a call that still waits when the service stops."""
        self._counters.refused += 1
        self._refuse_call(call, Unavailable(f"{self._service} is stopping"))

    def unstarted(self, call: Call) -> None:
        """A call ends before its handler was started."""
        if call.stopped:
            self.refuse_stopping(call)
        elif call.dropped and not _is_late(call):
            call.code = _CANCELLED_CODE
        else:
            self.refuse_late(call)

    def cancelled(self, call: Call, error: BaseException) -> bool:
        """A call's handler ended in a CancelledError; whether its task was cancelled indeed."""
        if call.expired or call.stopped or call.dropped:
            self._ended_early(call)
        else:
            # The handler awaited something that was cancelled, or raised it by itself.
            name = call.mounted.endpoint.name
            _log.error("%s failed: the handler was cancelled", name, exc_info=error)
            self.fail(call, InternalError("the handler was cancelled"))
        return call.task is not None and call.task.cancelling() > 0

    def failed(self, call: Call, error: BaseException) -> None:
        """A call's handler ended in an exception."""
        if call.expired or call.stopped:
            self._ended_early(call)
        elif isinstance(error, MicroError) and not isinstance(error, UsageError):
            self._failed_typed(call, error)
        elif isinstance(error, KeyboardInterrupt):
            _log.error("%s was interrupted: the service stops", call.mounted.endpoint.name)
            self.fail(call, Unavailable(f"{self._service} is stopping"))
            signal.raise_signal(signal.SIGINT)
        else:
            self._log_failure(call, error)
            self.fail(call, InternalError("the handler failed"))

    def fail(self, call: Call, error: MicroError) -> None:
        """Answer a call that was started with an error; does nothing if it was answered."""
        if call.answered:
            return
        call.answered = True
        call.code = error.code
        call.mounted.durations.last_error = str(error)
        self._counters.failed += 1
        call.replies.refuse(call.headers, as_answer(error, self._service))

    def _failed_typed(self, call: Call, error: MicroError) -> None:
        if isinstance(error, ReplyTooLarge):
            _log.error("%s failed: its reply: %s", call.mounted.endpoint.name, error.detail)
            error = PayloadTooLarge(error.detail)
        elif (
            isinstance(error, DeadlineExceeded)
            and call.deadline is not None
            and call.deadline.remaining() <= 0
        ):
            # A nested call gave up at the deadline that the two share.
            self._counters.expired += 1
            self._reports.deadline_passed(call)
        self.fail(call, error)

    def _ended_early(self, call: Call) -> None:
        """A handler was cancelled from outside."""
        if _is_late(call):
            self._counters.expired += 1
            self._reports.deadline_passed(call)
            self.fail(call, DeadlineExceeded("the handler took too long"))
        elif call.stopped:
            self.fail(call, Unavailable("the service stopped first"))
        else:
            call.code = _CANCELLED_CODE

    def _log_failure(self, call: Call, error: BaseException) -> None:
        name = call.mounted.endpoint.name
        reason = f": {error}" if isinstance(error, UnsendableReply) else ""
        _log.error("%s failed%s", name, reason, exc_info=error)

    def _refuse_call(self, call: Call, error: MicroError) -> None:
        call.answered = True
        call.code = error.code
        call.mounted.durations.last_error = str(error)
        error.id = self._service
        error.refused = True
        call.replies.refuse(call.headers, error)


def _is_late(call: Call) -> bool:
    """Whether a call ends because of its deadline.

    Its client waits for the same deadline, and cancels the call a moment before it is noticed here.
    """
    if call.expired or call.deadline is None:
        return call.expired
    return call.dropped and call.deadline.remaining() <= _DEADLINE_SLACK_SECONDS
