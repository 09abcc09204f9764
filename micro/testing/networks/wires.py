"""What connects the parts of a test network, and who is cut off from whom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from micro.concurrency.clock import Clock
from micro.errors import ConnectionLost
from micro.memory import MemoryBackend
from micro.message import Message
from micro.scope import Scope
from micro.testing.networks.activity import Activity
from micro.testing.networks.faults import Faults
from micro.testing.networks.guard import Guard
from micro.testing.networks.record import CallRecord, Listener

__all__ = ["Wires"]

Sides = tuple[frozenset[str], frozenset[str]]


class Wires:
    """What all parts of one network share.

    Args:
        memory: Carries everything.
        clock: Delays of events follow it.
        scope: Where delayed events wait.
        stack: Ends with the network.

    Attributes:
        activity: What is under way.
        faults: The faults that are active.
        record: The calls so far.
        listeners: What the test listens to.
        owners: Names of the part at each address.
    """

    def __init__(
        self, memory: MemoryBackend, clock: Clock, scope: Scope, stack: AsyncExitStack
    ) -> None:
        self.memory = memory
        self.clock = clock
        self.scope = scope
        self.stack = stack
        self.activity: Activity = Activity()
        self.faults: Faults = Faults()
        self.record: CallRecord = CallRecord()
        self.listeners: list[Listener[object]] = []
        self.owners: dict[str, frozenset[str]] = {}
        self._guards: dict[tuple[str, str], list[Guard]] = {}
        self._partitions: list[Sides] = []

    def passes(self, one: str, other: str) -> bool:
        """Whether messages pass between two addresses."""
        if not self._partitions:
            return True
        names, others = self.owners.get(one, frozenset()), self.owners.get(other, frozenset())
        return not any(_divides(sides, names, others) for sides in self._partitions)

    def attach(self, guard: Guard) -> None:
        """Learn of one end of a socket."""
        self._guards.setdefault(guard.socket_key, []).append(guard)

    def detach(self, guard: Guard) -> None:
        """Forget one end of a socket, which is closed."""
        ends = self._guards.get(guard.socket_key, [])
        if guard in ends:
            ends.remove(guard)
        if not ends:
            self._guards.pop(guard.socket_key, None)

    def divide(self, sides: Sides) -> Callable[[], None]:
        """Let nothing pass between two sides; returns what ends that."""
        self._partitions.append(sides)

        def heal() -> None:
            self._partitions.remove(sides)
            # A socket that lost messages is broken: the ends would wait for them without end.
            self._break(lambda ends: any(end.lossy for end in ends))

        return heal

    def sever(self, names: frozenset[str], why: str) -> None:
        """Break all sockets of a part, as when its process ends."""
        self._break(
            lambda ends: any(self.owners.get(end.local, frozenset()) == names for end in ends), why
        )

    def publish(self, topic: str, message: Message) -> None:
        """Tell the test's listeners of an event."""
        for listener in self.listeners:
            listener.add(topic, message)

    def _break(
        self, chosen: Callable[[list[Guard]], bool], why: str = "the network was partitioned"
    ) -> None:
        for ends in list(self._guards.values()):
            if chosen(ends):
                for end in tuple(ends):
                    end.break_off(ConnectionLost(why))


def _divides(sides: Sides, names: frozenset[str], others: frozenset[str]) -> bool:
    one, other = sides
    return bool((one & names and other & others) or (one & others and other & names))
