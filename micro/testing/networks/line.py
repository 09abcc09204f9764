"""A part's line to a test network: its own backend, which can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from micro.backend import Backend
from micro.registry.contract import Registration, Registry, Watch
from micro.registry.record import ServiceRecord
from micro.testing.networks.broker import LineBroker
from micro.testing.networks.cut import Cut
from micro.testing.networks.guard import Guard
from micro.testing.networks.wires import Wires
from micro.transport.contract import Accept, Listener, Receiver, Socket, Transport

__all__ = ["Line"]


class Line(Backend):
    """What one part of a network sends and receives passes here.

    Args:
        wires: The network.
        names: The names of the part, for partitions: its service and its node.

    Attributes:
        cutting: Whether the part was killed.
    """

    transport: _LineTransport
    broker: LineBroker
    registry: _LineRegistry

    def __init__(self, wires: Wires, *names: str) -> None:
        self.wires = wires
        self.names: frozenset[str] = frozenset(names)
        self.cutting: Cut = Cut()
        self.transport = _LineTransport(self)
        self.broker = LineBroker(wires, self.cutting)
        self.registry = _LineRegistry(self)

    async def check(self) -> None:
        """Return if the line is not cut."""
        self.cutting.check()
        await self.wires.memory.check()

    async def cut(self) -> None:
        """Let nothing more in or out, as when the part's process ends without a word."""
        self.cutting.happened = True
        # First of all, so that nothing that is cancelled sends an answer.
        self.wires.sever(self.names, "the other end was killed")
        for listener in self.transport.listeners:
            await listener.drain()
        for subscription in self.broker.subscriptions:
            await subscription.aclose()
        for record in self.registry.records:
            for node in record.nodes:
                self.wires.memory.registry.silence(node.id)


class _LineTransport(Transport):
    def __init__(self, line: Line) -> None:
        self._line = line
        self._wires = line.wires
        self._inner = line.wires.memory.transport
        self.listeners: list[Listener] = []

    async def dial(
        self, address: str, receiver: Receiver, *, metadata: Mapping[str, str] | None = None
    ) -> Socket:
        self._line.cutting.check()
        guard = Guard(self._wires)
        socket = await self._inner.dial(address, guard, metadata=metadata)
        self._wires.owners[socket.local] = self._line.names
        guard.open(socket, receiver)
        return socket

    def objection(self, metadata: Mapping[str, str]) -> str:
        return self._inner.objection(metadata)

    async def listen(self, accept: Accept, *, address: str = "") -> Listener:
        self._line.cutting.check()

        def guarded(socket: Socket) -> Receiver:
            guard = Guard(self._wires)
            guard.open(socket, accept(socket))
            return guard

        listener = await self._inner.listen(guarded, address=address)
        self._wires.owners[listener.address] = self._line.names
        self.listeners.append(listener)
        return listener


class _LineRegistry(Registry):
    def __init__(self, line: Line) -> None:
        self._line = line
        self._inner = line.wires.memory.registry
        self.records: list[ServiceRecord] = []

    @property
    def reachable(self) -> bool:
        return self._inner.reachable and not self._line.cutting.happened

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        return self._registered(record, self._inner.register(record, ttl=ttl, interval=interval))

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        self._line.cutting.check()
        return await self._inner.get_service(name)

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        self._line.cutting.check()
        return await self._inner.list_services()

    def watch(self, name: str) -> Watch:
        return self._inner.watch(name)

    @asynccontextmanager
    async def _registered(
        self, record: ServiceRecord, registration: Registration
    ) -> AsyncIterator[None]:
        self._line.cutting.check()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(registration)
            self.records.append(record)
            yield
            if self._line.cutting.happened:
                # A killed process takes nothing back: its node stays until its TTL has passed.
                self._line.wires.stack.push_async_exit(stack.pop_all())
