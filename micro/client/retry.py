"""When a failed attempt may be repeated: never where the request may have run twice."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

from micro.deadline import Deadline
from micro.errors import (
    DeadlineExceeded,
    MicroError,
    ResourceExhausted,
    TransportError,
    Unavailable,
)

__all__ = ["RetryBudget", "Retrying", "backoff", "may_retry"]

_BUDGET_TOKENS = 10.0
_TOKENS_PER_SUCCESS = 0.1
_FIRST_BACKOFF_SECONDS = 0.025
_MAX_BACKOFF_SECONDS = 1.0
_MAX_ATTEMPTS_ELSEWHERE = 32

N = TypeVar("N", bound=Hashable)


def may_retry(error: MicroError, *, idempotent: bool) -> bool:
    """Whether another attempt is safe after `error`.

    It is when the request surely did not run (`refused`), or when running it twice does no harm
    and another node, or the same one a moment later, may succeed.
    """
    if error.refused:
        return True
    passing = isinstance(error, Unavailable | DeadlineExceeded | ResourceExhausted)
    return idempotent and passing


def backoff(attempt: int, error: MicroError) -> float:
    """Seconds to wait before attempt number `attempt` (the first retry is 1), with full jitter.

    A node that is gone or stopping says nothing about the others, so the first retry is at once.
    """
    if error.retry_after is not None:
        return error.retry_after * random.uniform(1.0, 1.5)
    if isinstance(error, Unavailable) and attempt == 1:
        return 0.0
    return random.uniform(0.0, min(_MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0**attempt))


class RetryBudget:
    """Tokens for retries, so that retries do not overload a failing service.

    A retry costs one token of ten, a success earns a tenth: in the long run at most every tenth
    call is a retry (the throttling of gRPC, proposal A6).
    """

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens: float = _BUDGET_TOKENS

    def earn(self) -> None:
        """Add the share of a call that succeeded."""
        if self.tokens < _BUDGET_TOKENS:
            self.tokens = min(_BUDGET_TOKENS, self.tokens + _TOKENS_PER_SUCCESS)

    def spend(self) -> bool:
        """Take a token; false when there is none."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Retrying(Generic[N]):
    """The failed attempts of one call, and the decision about the next one.

    Args:
        retries: How often the call may be repeated.
        nodes: How many nodes there are.
        budget: The service's budget.

    Attributes:
        count: Attempts that failed.
        failed: The nodes they were made at, the last one last, with their errors.
    """

    __slots__ = ("_budget", "_elsewhere", "_retries", "count", "failed")

    def __init__(self, retries: int, nodes: int, budget: RetryBudget) -> None:
        self._retries = retries
        self._elsewhere = min(nodes, _MAX_ATTEMPTS_ELSEWHERE) if retries else 0
        self._budget = budget
        self.count: int = 0
        self.failed: dict[N, MicroError] = {}

    @property
    def left(self) -> int:
        """Attempts that remain after the present one."""
        return self._retries - self.count

    def next_pause(
        self, node: N, error: MicroError, *, idempotent: bool, deadline: Deadline | None
    ) -> float | None:
        """Record a failed attempt; returns the seconds until the next, or `None` to give up.

        Args:
            node: Where it was made.
            error: How it failed.
            idempotent: Whether this node's own record says that a second run does no harm.
            deadline: The call's.
        """
        self.count += 1
        if not may_retry(error, idempotent=idempotent) or self.count > self._allowed(error):
            return None
        # A node that is lost or stopping says nothing about the load of the others: no budget.
        lost = isinstance(error, TransportError) or (
            isinstance(error, Unavailable) and error.refused
        )
        if not lost and not self._budget.spend():
            return None
        self.failed.pop(node, None)
        self.failed[node] = error
        pause = backoff(self.count, error)
        if deadline is not None and deadline.remaining() <= pause:
            return None
        return pause

    def _allowed(self, error: MicroError) -> int:
        """Retries allowed; what surely did not run may try many nodes, since many may be leaving.

        The bound holds with thousands of dead nodes, too.
        """
        return self._retries + self._elsewhere if error.refused else self._retries
