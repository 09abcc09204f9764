"""The test network: services run in it as they would over NATS, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

from micro.broker.kept_types import Receipt
from micro.client.client import Client
from micro.codec import Codec, Codecs, default_codecs
from micro.concurrency.clock import RealClock, VirtualClock
from micro.errors import UsageError
from micro.events.deadletter import DeadLetter, dead_letters
from micro.handlers.definition import Layers
from micro.memory import MemoryBackend
from micro.names import check_pattern
from micro.runtime.configuration import client_options
from micro.scope import open_scope
from micro.service import Service
from micro.settings.hints import nearest
from micro.settings.kinds import read_duration
from micro.settings.load import load_settings
from micro.testing.networks.activity import SETTLE_SECONDS, STEP_TURNS, settle
from micro.testing.networks.faults import Fault
from micro.testing.networks.layers import client_layer
from micro.testing.networks.line import Line
from micro.testing.networks.population import Population
from micro.testing.networks.record import Call, Listener
from micro.testing.networks.replica import Replica
from micro.testing.networks.targets import Target, find_endpoint, read_target
from micro.testing.networks.wires import Wires
from micro.topic import Topic, name_of, type_of

__all__ = ["Network", "Part", "network"]

E = TypeVar("E")

Part = Replica | Service | Client | str
"""A part of a network: a replica, all replicas of a service, or the network's own client."""

TEST = "test"
"""The name of the test itself, whose client is `Network.client`."""


class Network(Population):
    """A network inside one test; `network` opens it.

    Attributes:
        client: The test's own client.
    """

    client: Client

    @overload
    async def publish(
        self,
        topic: Topic[E],
        event: E,
        *,
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Receipt: ...

    @overload
    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        id: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Receipt: ...

    async def publish(
        self,
        topic: str | Topic[Any],
        event: Any,
        *,
        id: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Receipt:
        """Publish an event as the test; see `Client.publish`."""
        return await self.client.publish(topic, event, id=id, headers=headers)

    async def dead(self, topic: str | Topic[Any] | None = None) -> list[DeadLetter]:
        """The dead letters of a topic, or of all topics, oldest first.

        Args:
            topic: A kept topic.
        """
        name = None if topic is None else name_of(topic)
        return await dead_letters(self._wires.memory.broker, topic=name)

    @overload
    def listen(self, topic: Topic[E]) -> Listener[E]: ...

    @overload
    def listen(self, topic: str, type: type[E]) -> Listener[E]: ...

    @overload
    def listen(self, topic: str, type: Any = ...) -> Listener[Any]: ...

    def listen(self, topic: str | Topic[Any], type: Any = None) -> Listener[Any]:
        """Keep the events that are published on a topic from now on.

        Args:
            topic: A `Topic`, a name, or a pattern with `*` and `>`.
            type: What to read each event as; the topic's type when not given.

        Raises:
            InvalidName: the topic cannot be used.
        """
        name = check_pattern(name_of(topic))
        listener = Listener[Any](name, type_of(topic) if type is None else type, self._codecs)
        self._wires.listeners.append(listener)
        return listener

    def calls(self, target: str | Service | Replica) -> list[Call]:
        """The calls that reached a service so far, in the order in which they began.

        Args:
            target: A service, its name, or one endpoint as `points.Points.Award`; a replica for the
                calls that reached this node.

        Raises:
            UsageError: no such service or endpoint was started here.
        """
        if isinstance(target, Replica):
            return [call for call in self._wires.record.calls if call.node == target.node]
        name = target.name if isinstance(target, Service) else target
        service, endpoint = find_endpoint(name, self._replicas)
        return self._wires.record.of(service, endpoint)

    def fault(
        self,
        target: Target,
        *,
        error: BaseException | None = None,
        delay: float | str | timedelta | None = None,
        drop: bool = False,
        times: int | None = None,
        at: str | Service = "",
    ) -> Fault:
        """Make calls of an endpoint, or events of a topic, fail, wait or get lost.

            net.fault("points.Points.Award", error=Unavailable("no points today"), times=2)
            net.fault(created, drop=True)                       # lost on its way
            net.fault(created, at=points, error=OSError())      # raised in place of the handler

        A call's delay is real time, as deadlines are; an event's delay follows the network's clock.
        A call that is dropped never gets an answer. Publishing a kept topic whose event is dropped
        raises `DeadlineExceeded`, as it does when no confirmation comes.

        Args:
            target: An endpoint as `service.Type.Method`, a service (all of its endpoints), or a
                topic, as a `Topic`, a name or a pattern.
            error: What the handler raises, or what `publish` raises for a topic.
            delay: Seconds, or text such as `50ms`, before it goes on.
            drop: Whether it gets lost.
            times: How often it happens; without end when not given.
            at: For a topic: the service in whose subscribers it happens, instead of at `publish`.

        Raises:
            UsageError: an argument makes no sense, or no service here has the endpoint.
        """
        service = at.name if isinstance(at, Service) else at
        return self._wires.faults.add(
            read_target(target, self._replicas, at=service),
            error=error,
            delay=delay,
            drop=drop,
            times=times,
            service=service,
        )

    @asynccontextmanager
    async def partition(self, one: Part, other: Part) -> AsyncIterator[None]:
        """Let no call and no stream pass between two parts while the block lasts.

        Messages are lost without a word, so a caller learns of it by its deadline. When the block
        ends, connections that lost something break. The registry goes on listing the nodes, and
        events pass: they go by the broker, which both parts reach.

        Args:
            one: A replica, a service, a service's name, or `Network.client`.
            other: Another one.

        Raises:
            UsageError: it is no part of this network.
        """
        heal = self._wires.divide((self._names(one), self._names(other)))
        try:
            yield
        finally:
            heal()

    async def settled(self, timeout: float | str | timedelta = SETTLE_SECONDS) -> None:
        """Wait until no call and no event is under way.

        What is due later does not count: an event that a fault delays, or one that is delivered
        again after a pause. Streams and background tasks do not count either.

        Args:
            timeout: Seconds of real time, or text such as `2s`.

        Raises:
            AssertionError: something still was under way; the text names it.
        """
        await settle(self._busy, read_duration(timeout))

    async def advance(self, seconds: float | str | timedelta) -> None:
        """Move the virtual clock, and let what comes due on the way settle, in order.

        Args:
            seconds: How far; text such as `2m` as well.

        Raises:
            UsageError: the network's clock is real.
            AssertionError: what came due did not settle.
        """
        clock = self._wires.clock
        if not isinstance(clock, VirtualClock):
            raise UsageError(
                "advance() moves a virtual clock: write network(clock='virtual'), or mark the test"
                " with @pytest.mark.network(clock='virtual')"
            )
        end = clock.time() + read_duration(seconds)
        await self.settled()
        while (due := clock.next_at) is not None and due <= end:
            await clock.advance(max(0.0, due - clock.time()), turns=0)
            await settle(self._busy, SETTLE_SECONDS, turns=STEP_TURNS)
        await clock.advance(max(0.0, end - clock.time()), turns=0)
        await self.settled()

    @property
    def now(self) -> float:
        """The time of the network's clock, in seconds since 1970."""
        return self._wires.clock.time()

    def _busy(self) -> list[str]:
        found = self._wires.activity.describe()
        for replica in self._replicas:
            found += replica.busy
        return found

    def _names(self, part: Part) -> frozenset[str]:
        if part is self.client:
            return frozenset({TEST})
        if isinstance(part, Replica):
            return frozenset({part.name})
        name = _name(part)
        services = {each.service for each in self._replicas}
        if name not in services:
            hint = nearest(name, services)
            also = f"; did you mean {hint!r}?" if hint else ": start it first"
            raise UsageError(f"{name!r} is no part of this network{also}")
        return frozenset({name})


@asynccontextmanager
async def network(
    *, clock: Literal["real", "virtual"] = "real", codecs: Sequence[Codec] = ()
) -> AsyncIterator[Network]:
    """Open a network for one test; what still runs at its end is stopped.

        async with network() as net:
            await net.start(points, replicas=2)
            await net.publish(created, OrderCreated(user="ann"))
            await net.settled()

    Services in it speak the wire format of a real network. With a virtual clock the broker's
    delays, and what else follows the clock, wait for `Network.advance`; deadlines and the sleeps of
    handlers stay in real time.

    Args:
        clock: `"real"`, or `"virtual"` for a clock that stands still until `advance` moves it.
        codecs: Codecs of the application's own, for the test's client, listeners and fakes.

    Raises:
        UsageError: there is no such clock.
    """
    clocks = {"real": RealClock, "virtual": VirtualClock}
    if clock not in clocks:
        raise UsageError(f"clock must be 'real' or 'virtual', got {clock!r}")
    known = Codecs([*default_codecs(), *codecs])
    async with open_scope() as scope, AsyncExitStack() as stack:
        time = clocks[clock]()
        memory = MemoryBackend(clock=time)
        stack.callback(memory.close)
        wires = Wires(memory, time, scope, stack)
        net = Network(wires, scope, known)
        net.client = await stack.enter_async_context(_client(wires, known))
        stack.push_async_callback(net.close)
        yield net


def _client(wires: Wires, codecs: Codecs) -> Client:
    line = Line(wires, TEST)
    layers = Layers(client=(client_layer(wires, TEST),))
    options = client_options(load_settings((), {}), name=TEST, layers=layers)
    return Client(line.transport, line.broker, line.registry, codecs, options)


def _name(part: Part) -> str:
    return part if isinstance(part, str) else getattr(part, "name", repr(part))
