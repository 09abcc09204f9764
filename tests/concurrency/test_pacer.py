"""Starting work at the pace of the event loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from micro.concurrency.limiter import Admission
from micro.concurrency.pacer import Lane, Pacer

RUN, QUEUED, REFUSED = Admission


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("micro.concurrency.pacer.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Work:
    """A pacer whose items take a time each, in one step."""

    def __init__(self, clock: Clock, cost: float) -> None:
        self.clock = clock
        self.cost = cost
        self.started: list[str] = []
        self._ready = 0
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.pacer = Pacer[str](self._start, self._call_later)

    def _start(self, item: str, now: float) -> bool:
        self.started.append(item)
        self._ready += 1
        return True

    def _call_later(self, seconds: float, act: Callable[[], object]) -> None:
        self.timers.append((self.clock.now + seconds, act))

    def admit(self, lane: Lane[str], item: str, patience: float = 10.0) -> Admission:
        admission = self.pacer.admit(lane, item, self.clock.now, patience)
        if admission is RUN:
            self._start(item, self.clock.now)
        return admission

    def turn(self) -> int:
        """One turn of the loop: all that was started runs its step; how many they were."""
        ready, self._ready = self._ready, 0
        for _ in range(ready):
            self.pacer.began()
            self.clock.now += self.cost
        return ready


def test_cheap_items_start_at_once(clock: Clock) -> None:
    work, lane = Work(clock, 0.00001), Lane[str]()

    assert {work.admit(lane, f"{n}") for n in range(64)} == {RUN}


def test_expensive_items_start_a_few_in_a_turn(clock: Clock) -> None:
    work, lane = Work(clock, 0.005), Lane[str]()
    for n in range(200):
        work.admit(lane, f"{n}")
    sizes = [work.turn() for _ in range(8)]

    assert sizes[0] == 64
    assert max(sizes[3:]) <= 4


def test_lanes_take_turns_so_that_a_light_one_is_not_held_up(clock: Clock) -> None:
    work, heavy, light = Work(clock, 0.005), Lane[str](), Lane[str]()
    for n in range(300):
        work.admit(heavy, f"heavy {n}")
    for _ in range(4):
        work.turn()
    work.admit(light, "light")
    before = len(work.started)
    work.turn()
    work.turn()

    assert "light" in work.started[before - 1 :]


def overload(clock: Clock, patience: float) -> float:
    """Twice as many items as there is time for, for 10 s; the wait in the end."""
    work, lane, due = Work(clock, 0.005), Lane[str](), clock.now
    end = clock.now + 10
    while clock.now < end:
        while due <= clock.now:
            work.admit(lane, f"{due}", patience)
            due += 0.0025
        if not work.turn():
            clock.now += 0.001
    return lane.pace.wait(len(lane.waiting))


def test_a_standing_queue_is_kept_short_for_callers_with_little_time(clock: Clock) -> None:
    assert overload(clock, 0.5) <= 0.3


def test_a_standing_queue_may_be_longer_for_patient_callers(clock: Clock) -> None:
    assert 0.3 < overload(clock, 2.5) <= 1.2


def test_an_item_that_is_withdrawn_does_not_start(clock: Clock) -> None:
    work, lane = Work(clock, 0.005), Lane[str]()
    items = [f"{n}" for n in range(70)]
    for item in items:
        work.admit(lane, item)

    assert lane.withdraw(items[66])
    assert not lane.withdraw(items[66])
    for _ in range(40):
        work.turn()
    assert len(work.started) == 69


def test_lanes_share_the_processor_by_cost_and_not_by_count(clock: Clock) -> None:
    work, heavy, light = Work(clock, 0.001), Lane[str](), Lane[str]()
    for lane, cost in ((heavy, 0.01), (light, 0.001)):
        lane.cost.note(0.0)
        lane.cost.note(cost)
    for n in range(200):
        work.admit(heavy, f"heavy {n}")
        work.admit(light, f"light {n}")
    work.pacer.work.seconds = 100.0
    before = len(work.started)
    for _ in range(6):
        work.turn()

    started = [item.split()[0] for item in work.started[before:]]
    assert started.count("light") > 4 * max(1, started.count("heavy"))


def test_items_that_wait_for_the_bound_on_work_start_when_others_end(clock: Clock) -> None:
    work, lane = Work(clock, 0.00001), Lane[str]()
    lane.cost.note(0.0)
    lane.cost.note(0.01)
    window = work.pacer.work
    epochs = [window.add(0.01) for n in range(30) if work.admit(lane, f"{n}") is RUN]
    work.turn()
    in_flight = len(work.started)
    for epoch in epochs[:5]:
        epoch[0] -= 0.01
    work.pacer.resume()

    assert in_flight < 30
    assert len(work.started) > in_flight


def test_items_held_up_by_work_that_only_waits_start_in_time(clock: Clock) -> None:
    work, lane = Work(clock, 0.00001), Lane[str]()
    lane.cost.note(0.0)
    lane.cost.note(0.01)
    for n in range(30):
        if work.admit(lane, f"{n}") is RUN:
            work.pacer.work.add(0.01)
    work.turn()
    for _ in range(100):
        due, act = work.timers.pop(0) if work.timers else (clock.now, lambda: None)
        clock.now = max(clock.now, due)
        act()
        work.turn()

    assert not lane.waiting


def test_the_pace_of_an_earlier_queue_refuses_none(clock: Clock) -> None:
    work, lane = Work(clock, 0.05), Lane[str]()
    for n in range(150):
        work.admit(lane, f"early {n}")
    while work.turn():
        continue
    clock.now += 10
    work.cost = 0.0001
    admitted = []
    for n in range(200):
        admitted.append(work.admit(lane, f"{n}", 0.5))
        clock.now += 0.001

    assert REFUSED not in admitted
