"""Admission: which requests run now, which wait for their turn, and which are refused at once.

It looks at headers alone. A body is expanded and decoded when its call has been started.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from micro.concurrency.budget import process_budget
from micro.concurrency.limiter import Admission
from micro.concurrency.loop_lag import LoopLag
from micro.concurrency.pacer import STANDING_SECONDS, Pacer
from micro.concurrency.timers import Timers
from micro.concurrency.work import LIGHT_SECONDS
from micro.deadline import Deadline
from micro.errors import MethodNotAllowed, MicroError, NotFound, Unavailable
from micro.message import Message
from micro.scope import Scope
from micro.server.call import MAX_STREAM_WAIT_SECONDS, Call, Mounted, Replies, Requests
from micro.server.outcomes import Outcomes
from micro.server.reports import Reports
from micro.server.stream import open_flows
from micro.wire.headers import ENDPOINT, METHOD, STREAM, deadline_from
from micro.wire.limits import process_body_limit, too_large

__all__ = ["AdmissionControl"]

_PATIENCE_SHARE = 0.5
"""The share of a call's time that it may wait; the rest is for its handler."""

_SUCCESS = 200
_RUN = Admission.RUN
_LOOP_BUSY = "its event loop is busy"


class AdmissionControl(Requests):
    """Admits the requests of one server.

    Args:
        service: The service's name.
        mounted: The endpoints by name.
        scope: Where calls run.
        outcomes: Answers what is refused.
        reports: Where calls are logged.

    Attributes:
        draining: Whether all requests are refused because the service stops.
        open: Calls that run or wait.
        on_idle: Called when the last call has ended.
        began: To be called when a call's task runs its first step.
    """

    def __init__(
        self,
        service: str,
        mounted: Mapping[str, Mounted],
        scope: Scope,
        *,
        outcomes: Outcomes,
        reports: Reports,
    ) -> None:
        self.draining = False
        self.open: int = 0
        self.on_idle: Callable[[], None] = _do_nothing
        self._run: Callable[[Call], Coroutine[Any, Any, None]]
        self._service = service
        self._mounted = mounted
        self._scope = scope
        self._outcomes = outcomes
        self._reports = reports
        self._timers = Timers[Call](self._expire)
        call_later = asyncio.get_running_loop().call_later
        self._pacer = Pacer[Call](self._launch_waiting, call_later)
        self.began: Callable[[], None] = self._pacer.began
        self._lag = LoopLag()
        self._body_limit = process_body_limit()
        scope.start(self._lag.measure(), name="micro.server.lag")

    def runs_with(self, run: Callable[[Call], Coroutine[Any, Any, None]]) -> None:
        """Run admitted calls with this function; to be given before the first request."""
        self._run = run

    @property
    def waiting(self) -> int:
        """Calls that wait for the event loop; those that wait for a slot are in the limiters."""
        return self._pacer.waiting

    def close(self) -> None:
        """Let no call expire any more."""
        self._timers.close()

    def request(self, replies: Replies, message: Message) -> None:
        """Take a request: start its call, queue it, or refuse it."""
        headers = message.headers
        mounted = self._mounted.get(headers.get(ENDPOINT) or headers.get(METHOD, ""))
        streams = STREAM in headers
        if mounted is None or self.draining or mounted.streams != streams:
            self._outcomes.refuse(replies, headers, self._objection(headers, mounted))
            return
        now = time.monotonic()
        deadline = deadline_from(headers, now)
        if deadline is None:
            deadline = mounted.deadline(now)
        elif mounted.cap is not None and deadline.at > now + mounted.cap:
            deadline = Deadline(now + mounted.cap)
        call = Call(replies, mounted, message, deadline, now)
        if len(message.body) > self._body_limit.bytes:
            self._outcomes.refuse(replies, headers, too_large(len(message.body)))
            return
        if deadline is not None:
            left = deadline.at - now
            lag = 0.0 if replies.in_process else self._lag.seconds(now)
            if left <= replies.delay or left <= lag:
                self._outcomes.refuse_late(call)
                return
            call.patience = left * _PATIENCE_SHARE
            call.timer = self._timers.add(deadline.at, call)
        # From here on a cancel frame finds the call, and `finished` must be called once.
        self.open += 1
        replies.calls[call.id] = call
        try:
            if streams:
                open_flows(call)
            self._advance(call, now)
        except BaseException:
            self.finished(call)
            raise

    def objection(self, headers: Mapping[str, str]) -> MicroError | None:
        """Why a request with these headers would be refused, whatever its body is."""
        mounted = self._mounted.get(headers.get(ENDPOINT) or headers.get(METHOD, ""))
        if mounted is not None and not self.draining and mounted.streams == (STREAM in headers):
            return None
        error = self._objection(headers, mounted)
        vars(error).update(id=self._service, refused=True)
        return error

    def finished(self, call: Call) -> None:
        """A call has ended, or was refused after it had begun to wait."""
        if call.timer is not None:
            call.timer.discard(call)
        if call.task is not None:
            self._scope.release(call.task)
        if call.held:
            process_budget().release(call.held)
        code = call.code
        call.mounted.durations.observe(
            time.monotonic() - call.since, 0 if code == _SUCCESS else code
        )
        if self._reports.access_log:
            self._reports.ended(call)
        call.replies.finish(call)
        # A thread cannot be cancelled: its slots are taken until it ends by itself.
        if call.threaded:
            call.slots_kept = True
        else:
            for limiter, _ in call.mounted.limits[: call.slots]:
                limiter.release()
            if call.epoch is not None:
                self._work_ended(call)
        self.open -= 1
        if self.draining and not self.open:
            self.on_idle()

    def thread_ended(self, call: Call) -> None:
        """The thread of a plain handler has ended."""
        call.threaded = False
        if call.slots_kept:
            for limiter, _ in call.mounted.limits:
                limiter.release()
            if call.epoch is not None:
                self._work_ended(call)

    def slot_acquired(self, call: Call) -> None:
        """A call that waited at a limiter has its slot; the limiter calls this."""
        now = time.monotonic()
        call.slots += 1
        call.queue = None
        if call.deadline is not None:
            call.patience = (call.deadline.at - now) * _PATIENCE_SHARE
        self._advance(call, now)

    def _advance(self, call: Call, now: float) -> None:
        """Acquire the slots that the call still needs, then start it."""
        mounted = call.mounted
        limits = mounted.limits
        while call.slots < len(limits):
            limiter, reason = limits[call.slots]
            admission = limiter.admit(call, call.patience)
            if admission is not _RUN:
                self._wait_or_refuse(call, admission, limiter.withdraw, reason)
                return
            call.slots += 1
        admission = self._pacer.admit(mounted.lane, call, now, call.patience)
        if admission is _RUN:
            self._start(call)
        else:
            call.start_by = now + call.patience
            self._wait_or_refuse(call, admission, mounted.lane.withdraw, _LOOP_BUSY)

    def _launch_waiting(self, call: Call, now: float) -> bool:
        """Start a call that waited for the event loop; false when its time is over."""
        call.queue = None
        if call.deadline is not None and call.deadline.at <= now:
            self._outcomes.refuse_late(call)
        elif now > call.start_by and now - call.mounted.lane.since > STANDING_SECONDS:
            self._outcomes.refuse_busy(call, _LOOP_BUSY)
        else:
            self._start(call)
            return True
        self.finished(call)
        return False

    def _start(self, call: Call) -> None:
        """Start a call's task, and count what it will use of the processor."""
        if call.deadline is None and call.timer is not None:
            call.timer.discard(call)  # it bounded the wait
        run = self._run(call)
        mounted = call.mounted
        if not mounted.streams:
            cost = mounted.lane.cost
            if cost.seconds > LIGHT_SECONDS:
                call.cost = cost.seconds
                call.epoch = self._pacer.work.add(cost.seconds)
            # Not in a function: this is done for each call.
            if cost.due:
                cost.due -= 1
            else:
                call.meter = meter = cost.meter()
                run = meter.run(run)
        call.task = self._scope.spawn(run)

    def _work_ended(self, call: Call) -> None:
        assert call.epoch is not None
        call.epoch[0] -= call.cost
        call.epoch = None
        if self._pacer.work.blocked:
            self._pacer.resume()

    def _wait_or_refuse(
        self, call: Call, admission: Admission, withdraw: Callable[[Call], bool], reason: str
    ) -> None:
        if admission is Admission.REFUSED:
            self._outcomes.refuse_busy(call, reason)
            self.finished(call)
            return
        call.queue = withdraw
        call.withdraw = self._withdraw
        if call.timer is None:
            call.timer = self._timers.add(time.monotonic() + MAX_STREAM_WAIT_SECONDS, call)

    def _withdraw(self, call: Call) -> None:
        """End a call that waits; its client cancelled it, or the service stops."""
        if call.queue is not None and call.queue(call):
            if not call.answered:
                call.dropped = True
                self._outcomes.unstarted(call)
            self.finished(call)

    def _expire(self, call: Call) -> None:
        if call.task is not None:
            call.expired = True
            call.cancel()
        elif call.queue is not None and call.queue(call):
            if call.deadline is None:
                self._outcomes.refuse_busy(call, "no place for a stream became free")
            else:
                self._outcomes.refuse_late(call)
            self.finished(call)

    def _objection(self, headers: Mapping[str, str], mounted: Mounted | None) -> MicroError:
        name = headers.get(ENDPOINT) or headers.get(METHOD, "")
        if mounted is None:
            return NotFound(f"{self._service} has no endpoint {name!r}")
        if self.draining:
            return Unavailable(f"{self._service} is stopping")
        kind = "a stream" if mounted.streams else "not a stream"
        return MethodNotAllowed(f"{name} is {kind}")


def _do_nothing() -> None:
    return None
