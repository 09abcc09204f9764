"""When a failed attempt may be made again."""

from __future__ import annotations

import pytest

from micro.client.retry import RetryBudget, backoff, may_retry
from micro.errors import (
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    InternalError,
    MicroError,
    NoResponders,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "idempotent", "safe"),
    [
        (Unavailable(refused=True), False, True),
        (ResourceExhausted(refused=True), False, True),
        (NoResponders(), False, True),
        (Unavailable(), False, False),
        (ConnectionLost(), False, False),
        (DeadlineExceeded(), False, False),
        (Unavailable(), True, True),
        (ConnectionLost(), True, True),
        (DeadlineExceeded(), True, True),
        (ResourceExhausted(), True, True),
        (BadRequest(), True, False),
        (NotFound(), True, False),
        (InternalError(), True, False),
    ],
)
def test_a_retry_is_safe_when_nothing_ran_or_running_twice_does_no_harm(
    error: MicroError, idempotent: bool, safe: bool
) -> None:
    assert may_retry(error, idempotent=idempotent) is safe


def test_a_node_that_is_gone_is_no_reason_to_wait() -> None:
    assert backoff(1, Unavailable()) == 0.0


def test_later_pauses_grow_up_to_a_bound_and_differ() -> None:
    pauses = {backoff(20, Unavailable()) for _ in range(200)}

    assert len(pauses) > 100
    assert all(0 <= pause <= 1.0 for pause in pauses)
    assert all(backoff(1, ResourceExhausted()) <= 0.05 for _ in range(200))


def test_what_the_server_asks_for_is_waited_with_some_jitter() -> None:
    pauses = {backoff(1, ResourceExhausted(retry_after=2.0)) for _ in range(200)}

    assert len(pauses) > 100
    assert all(2.0 <= pause <= 3.0 for pause in pauses)


def test_a_budget_is_ten_retries_at_once() -> None:
    budget = RetryBudget()

    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


def test_ten_successes_earn_one_retry() -> None:
    budget = RetryBudget()
    while budget.spend():
        pass
    for _ in range(11):
        budget.earn()

    assert budget.spend()
    assert not budget.spend()


def test_a_budget_never_grows_beyond_its_start() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.earn()

    assert budget.tokens == 10
