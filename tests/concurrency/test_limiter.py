"""The bound on what runs at once."""

from __future__ import annotations

import pytest

from micro.concurrency.budget import process_budget
from micro.concurrency.limiter import MAX_WAITING_BYTES, Admission, Limiter

RUN, QUEUED, REFUSED = Admission


@pytest.fixture
def started() -> list[int]:
    return []


@pytest.fixture
def limiter(started: list[int]) -> Limiter[int]:
    return Limiter(2, 2, started.append, lambda _: 1)


def test_items_up_to_the_limit_run(limiter: Limiter[int]) -> None:
    assert limiter.admit(1) is RUN
    assert limiter.admit(2) is RUN
    assert limiter.inside == 2


def test_items_over_the_limit_wait_until_the_queue_is_full(limiter: Limiter[int]) -> None:
    answers = [limiter.admit(item) for item in range(5)]

    assert answers == [RUN, RUN, QUEUED, QUEUED, REFUSED]
    assert limiter.waiting == 2


def test_waiting_items_start_in_order_of_arrival(limiter: Limiter[int], started: list[int]) -> None:
    for item in range(4):
        limiter.admit(item)

    limiter.release()
    assert started == [2]
    limiter.release()
    assert started == [2, 3]
    assert (limiter.inside, limiter.waiting) == (2, 0)


def test_a_released_slot_is_free(limiter: Limiter[int]) -> None:
    limiter.admit(1)
    limiter.release()

    assert limiter.inside == 0


def test_a_withdrawn_item_does_not_start(limiter: Limiter[int], started: list[int]) -> None:
    for item in range(4):
        limiter.admit(item)

    assert limiter.withdraw(2)
    assert not limiter.withdraw(2)
    assert not limiter.withdraw(0)
    limiter.release()
    assert started == [3]


def test_a_limiter_without_a_queue_refuses_at_once() -> None:
    limiter = Limiter[int](1, 0, lambda _: None, lambda _: 1)

    assert limiter.admit(1) is RUN
    assert limiter.admit(2) is REFUSED


def test_a_long_queue_of_items_that_end_at_once_is_worked_off() -> None:
    done: list[int] = []

    def start(item: int) -> None:
        done.append(item)
        limiter.release()

    limiter = Limiter[int](1, 5000, start, lambda _: 1)
    for item in range(5001):
        limiter.admit(item)
    limiter.release()

    assert done == list(range(1, 5001))
    assert (limiter.inside, limiter.waiting) == (0, 0)


def test_a_new_item_does_not_overtake_waiting_ones() -> None:
    order: list[int] = []

    def start(item: int) -> None:
        order.append(item)
        if item == 1:
            limiter.release()
            assert limiter.admit(9) is QUEUED

    limiter = Limiter[int](1, 10, start, lambda _: 1)
    for item in range(3):
        limiter.admit(item)
    limiter.release()
    limiter.release()

    assert order == [1, 2, 9]


def test_the_queue_is_bounded_in_bytes(started: list[int]) -> None:
    limiter = Limiter[int](1, 1000, started.append, lambda _: MAX_WAITING_BYTES // 2)

    assert [limiter.admit(number) for number in range(5)] == [RUN, QUEUED, QUEUED, QUEUED, REFUSED]
    limiter.release()
    assert limiter.admit(5) is QUEUED
    assert limiter.admit(6) is REFUSED
    assert limiter.withdraw(5)
    assert limiter.admit(7) is QUEUED


def test_waiting_items_count_in_the_budget_of_the_process(started: list[int]) -> None:
    held = process_budget().held
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1000)

    for number in range(4):
        limiter.admit(number)
    assert process_budget().held == held + 3000
    limiter.withdraw(2)
    limiter.release()
    limiter.release()
    assert process_budget().held == held


def test_an_item_that_finds_the_budget_of_the_process_spent_is_refused(
    started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_budget(), "limit", process_budget().held + 1500)
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1000)

    assert [limiter.admit(number) for number in range(3)] == [RUN, QUEUED, REFUSED]
    limiter.release()


def test_an_item_is_refused_when_the_queue_takes_longer_than_its_patience(
    started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("micro.concurrency.limiter.time.monotonic", lambda: now)
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1)
    for number in range(23):
        limiter.admit(number, patience=1000.0)
    for _ in range(20):
        now += 1.0
        limiter.release()

    assert limiter.waiting == 2
    assert limiter.admit(30, patience=1.9) is REFUSED
    assert limiter.admit(30, patience=2.1) is QUEUED


def test_a_few_slow_starts_are_no_reason_to_refuse(
    started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("micro.concurrency.limiter.time.monotonic", lambda: now)
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1)
    for number in range(100):
        limiter.admit(number, patience=1000.0)
    now += 30.0
    limiter.release()

    assert limiter.admit(200, patience=2.5) is QUEUED


def test_the_pace_of_an_earlier_queue_refuses_none(
    started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("micro.concurrency.limiter.time.monotonic", lambda: now)
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1)
    for number in range(23):
        limiter.admit(number, patience=60.0)
    for _ in range(23):
        now += 1.0
        limiter.release()
    now += 60.0

    assert [limiter.admit(n, patience=0.5) for n in range(3)] == [RUN, QUEUED, QUEUED]


def test_what_is_dropped_at_the_end_gives_its_bytes_back(started: list[int]) -> None:
    held = process_budget().held
    limiter = Limiter[int](1, 1000, started.append, lambda _: 1000)
    for number in range(4):
        limiter.admit(number)
    limiter.clear()
    limiter.release()

    assert process_budget().held == held
    assert not limiter.waiting
    assert not started
