"""When a failed attempt may be made again: never where the request may have run twice."""

from __future__ import annotations

import random

from micro.errors import DeadlineExceeded, MicroError, ResourceExhausted, Unavailable

__all__ = ["RetryBudget", "backoff", "may_retry"]

_TOKENS = 10.0
_EARNED = 0.1
_FIRST = 0.025
_LONGEST = 1.0


def may_retry(error: MicroError, *, idempotent: bool) -> bool:
    """Whether another attempt is safe after `error`.

    It is when the request surely did not run (`refused`), or when running it twice does no harm
    and the failure is one that another node, or a moment, may not have.
    """
    if error.refused:
        return True
    passing = isinstance(error, Unavailable | DeadlineExceeded | ResourceExhausted)
    return idempotent and passing


def backoff(attempt: int, error: MicroError) -> float:
    """Seconds to wait before attempt number `attempt` (the first retry is 1), with full jitter.

    A node that is gone or leaving says nothing about the others, so its first retry is at once.
    """
    if error.retry_after is not None:
        return error.retry_after * random.uniform(1.0, 1.5)
    if isinstance(error, Unavailable) and attempt == 1:
        return 0.0
    return random.uniform(0.0, min(_LONGEST, _FIRST * 2.0**attempt))


class RetryBudget:
    """Tokens for retries, so that a failing service is not drowned by them.

    A retry costs one token of ten, a success earns a tenth: in the long run at most every tenth
    call is a retry (the throttling of gRPC, proposal A6).
    """

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = _TOKENS

    def earn(self) -> None:
        """A call succeeded."""
        if self.tokens < _TOKENS:
            self.tokens = min(_TOKENS, self.tokens + _EARNED)

    def spend(self) -> bool:
        """Take a token; false when there is none."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
