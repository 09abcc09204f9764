"""The bound on bytes held in memory."""

from __future__ import annotations

from micro.concurrency.budget import PROCESS_BUDGET_BYTES, ByteBudget, process_budget


def test_bytes_are_counted_up_to_the_limit() -> None:
    budget = ByteBudget(10)

    assert budget.acquire(6)
    assert not budget.acquire(5)
    assert budget.acquire(4)
    assert budget.held == 10


def test_released_bytes_can_be_acquired_again() -> None:
    budget = ByteBudget(10)
    budget.acquire(10)
    budget.release(4)

    assert not budget.acquire(5)
    assert budget.acquire(4)


def test_a_parent_counts_the_bytes_of_all_its_children() -> None:
    parent = ByteBudget(10)
    one, other = ByteBudget(8, parent), ByteBudget(8, parent)

    assert one.acquire(8)
    assert not other.acquire(3)
    assert (other.held, parent.held) == (0, 8)
    one.release(8)
    assert other.acquire(3)
    assert parent.held == 3


def test_a_refusal_of_the_child_costs_the_parent_nothing() -> None:
    parent = ByteBudget(10)

    assert not ByteBudget(2, parent).acquire(3)
    assert parent.held == 0


def test_a_process_has_one_budget() -> None:
    assert process_budget() is process_budget()
    assert process_budget().limit == PROCESS_BUDGET_BYTES
