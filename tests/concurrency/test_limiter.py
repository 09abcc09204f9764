"""The bound on what runs at once."""

from __future__ import annotations

import pytest

from micro.concurrency.limiter import HEAVIEST, Gate


@pytest.fixture
def started() -> list[int]:
    return []


@pytest.fixture
def gate(started: list[int]) -> Gate[int]:
    return Gate(2, 2, started.append, lambda _: 1)


def test_as_many_as_the_limit_are_let_in(gate: Gate[int]) -> None:
    assert gate.enter(1) is True
    assert gate.enter(2) is True
    assert gate.inside == 2


def test_the_next_wait_and_those_after_them_are_refused(gate: Gate[int]) -> None:
    answers = [gate.enter(item) for item in range(5)]

    assert answers == [True, True, False, False, None]
    assert gate.waiting == 2


def test_who_waits_starts_in_order_of_arrival(gate: Gate[int], started: list[int]) -> None:
    for item in range(4):
        gate.enter(item)

    gate.leave()
    assert started == [2]
    gate.leave()
    assert started == [2, 3]
    assert (gate.inside, gate.waiting) == (2, 0)


def test_the_last_one_out_leaves_the_gate_empty(gate: Gate[int]) -> None:
    gate.enter(1)
    gate.leave()

    assert gate.inside == 0


def test_who_withdraws_waits_no_more(gate: Gate[int], started: list[int]) -> None:
    for item in range(4):
        gate.enter(item)

    assert gate.withdraw(2)
    assert not gate.withdraw(2)
    assert not gate.withdraw(0)
    gate.leave()
    assert started == [3]


def test_a_gate_without_a_queue_refuses_at_once() -> None:
    gate = Gate[int](1, 0, lambda _: None, lambda _: 1)

    assert gate.enter(1) is True
    assert gate.enter(2) is None


def test_a_long_queue_of_items_that_end_at_once_is_worked_off() -> None:
    done: list[int] = []

    def start(item: int) -> None:
        done.append(item)
        gate.leave()

    gate = Gate[int](1, 5000, start, lambda _: 1)
    for item in range(5001):
        gate.enter(item)
    gate.leave()

    assert done == list(range(1, 5001))
    assert (gate.inside, gate.waiting) == (0, 0)


def test_nobody_overtakes_those_who_wait() -> None:
    order: list[int] = []

    def start(item: int) -> None:
        order.append(item)
        if item == 1:
            gate.leave()
            assert gate.enter(9) is False

    gate = Gate[int](1, 10, start, lambda _: 1)
    for item in range(3):
        gate.enter(item)
    gate.leave()
    gate.leave()

    assert order == [1, 2, 9]


def test_what_waits_is_bounded_in_bytes_as_well(started: list[int]) -> None:
    gate = Gate[int](1, 1000, started.append, lambda _: HEAVIEST // 2)

    assert [gate.enter(number) for number in range(5)] == [True, False, False, False, None]
    gate.leave()
    assert gate.enter(5) is False
    assert gate.enter(6) is None
    assert gate.withdraw(5)
    assert gate.enter(7) is False
