"""The circuit breaker of one node."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from micro.client import breaker as module
from micro.client.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker()


def test_the_fifth_failure_in_a_row_opens_it(breaker: Breaker) -> None:
    for _ in range(4):
        breaker.failure()
    assert breaker.closed
    breaker.failure()

    assert not breaker.closed
    assert not breaker.admits()


def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    for _ in range(4):
        breaker.failure()
    breaker.success()
    for _ in range(4):
        breaker.failure()

    assert breaker.closed


def test_a_node_that_is_gone_opens_it_at_once(breaker: Breaker) -> None:
    breaker.eject()

    assert not breaker.closed


def test_after_the_cool_down_one_probe_goes_through(breaker: Breaker, clock: Clock) -> None:
    breaker.eject()
    clock.now += 1.21

    assert breaker.admits()
    assert not breaker.admits()


def test_a_probes_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    breaker.eject()
    clock.now += 1.21
    breaker.admits()
    breaker.success()

    assert breaker.closed
    assert breaker.admits()
    assert breaker.admits()


def test_a_probes_failure_opens_it_for_twice_as_long(breaker: Breaker, clock: Clock) -> None:
    breaker.eject()
    clock.now += 1.21
    breaker.admits()
    breaker.failure()
    clock.now += 1.5
    assert not breaker.admits()
    clock.now += 1.0

    assert breaker.admits()


def test_a_failure_that_many_calls_tell_of_counts_once(breaker: Breaker, clock: Clock) -> None:
    for _ in range(20):
        breaker.eject()
    clock.now += 1.21

    assert breaker.admits()


def test_it_never_stays_open_for_longer_than_half_a_minute_and_some(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(5):
        breaker.failure()
    for _ in range(20):
        clock.now += 36.1
        assert breaker.admits()
        breaker.failure()
    clock.now += 23.9
    assert not breaker.admits()
    clock.now += 12.2

    assert breaker.admits()


def test_one_that_is_gone_is_looked_for_every_other_second(breaker: Breaker, clock: Clock) -> None:
    for _ in range(20):
        breaker.eject()
        clock.now += 2.41
        assert breaker.admits()
    breaker.eject()
    clock.now += 1.59

    assert not breaker.admits()


def test_a_probe_that_told_nothing_makes_way_for_another(breaker: Breaker, clock: Clock) -> None:
    breaker.eject()
    clock.now += 1.21
    breaker.admits()
    breaker.release()

    assert breaker.admits()
