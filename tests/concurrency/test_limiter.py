"""The bound on what runs at once."""

from __future__ import annotations

import pytest

from micro.concurrency.limiter import HEAVIEST, Limiter


@pytest.fixture
def started() -> list[int]:
    return []


@pytest.fixture
def limiter(started: list[int]) -> Limiter[int]:
    return Limiter(2, 2, started.append, lambda _: 1)


def test_as_many_as_the_limit_are_let_in(limiter: Limiter[int]) -> None:
    assert limiter.enter(1) is True
    assert limiter.enter(2) is True
    assert limiter.inside == 2


def test_the_next_wait_and_those_after_them_are_refused(limiter: Limiter[int]) -> None:
    answers = [limiter.enter(item) for item in range(5)]

    assert answers == [True, True, False, False, None]
    assert limiter.waiting == 2


def test_who_waits_starts_in_order_of_arrival(limiter: Limiter[int], started: list[int]) -> None:
    for item in range(4):
        limiter.enter(item)

    limiter.leave()
    assert started == [2]
    limiter.leave()
    assert started == [2, 3]
    assert (limiter.inside, limiter.waiting) == (2, 0)


def test_the_last_one_out_leaves_the_limiter_empty(limiter: Limiter[int]) -> None:
    limiter.enter(1)
    limiter.leave()

    assert limiter.inside == 0


def test_who_withdraws_waits_no_more(limiter: Limiter[int], started: list[int]) -> None:
    for item in range(4):
        limiter.enter(item)

    assert limiter.withdraw(2)
    assert not limiter.withdraw(2)
    assert not limiter.withdraw(0)
    limiter.leave()
    assert started == [3]


def test_a_limiter_without_a_queue_refuses_at_once() -> None:
    limiter = Limiter[int](1, 0, lambda _: None, lambda _: 1)

    assert limiter.enter(1) is True
    assert limiter.enter(2) is None


def test_a_long_queue_of_items_that_end_at_once_is_worked_off() -> None:
    done: list[int] = []

    def start(item: int) -> None:
        done.append(item)
        limiter.leave()

    limiter = Limiter[int](1, 5000, start, lambda _: 1)
    for item in range(5001):
        limiter.enter(item)
    limiter.leave()

    assert done == list(range(1, 5001))
    assert (limiter.inside, limiter.waiting) == (0, 0)


def test_nobody_overtakes_those_who_wait() -> None:
    order: list[int] = []

    def start(item: int) -> None:
        order.append(item)
        if item == 1:
            limiter.leave()
            assert limiter.enter(9) is False

    limiter = Limiter[int](1, 10, start, lambda _: 1)
    for item in range(3):
        limiter.enter(item)
    limiter.leave()
    limiter.leave()

    assert order == [1, 2, 9]


def test_what_waits_is_bounded_in_bytes_as_well(started: list[int]) -> None:
    limiter = Limiter[int](1, 1000, started.append, lambda _: HEAVIEST // 2)

    assert [limiter.enter(number) for number in range(5)] == [True, False, False, False, None]
    limiter.leave()
    assert limiter.enter(5) is False
    assert limiter.enter(6) is None
    assert limiter.withdraw(5)
    assert limiter.enter(7) is False
