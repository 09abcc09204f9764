"""What every registry must do."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import pytest

from micro.backend import Backend
from micro.errors import InvalidName
from micro.registry.contract import Registration, Registry
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord

__all__ = ["RegistryConformance"]

_Set = tuple[ServiceRecord, ...]

_ENTRY = ValueRecord(name="entry", type="Entry", values=(ValueRecord(name="n", type="int64"),))
_ENDPOINTS = (
    EndpointRecord(
        name="Ledger.Close",
        request=ValueRecord(
            name="CloseDay",
            type="CloseDay",
            values=(ValueRecord(name="entries", type="[]Entry", values=(_ENTRY,)),),
        ),
        response=ValueRecord(name="Closed", type="Closed"),
        metadata={"stream": "true", "text": "Zoë ☃"},
    ),
    EndpointRecord(name="Ledger.Open", request=None, response=None),
)


class RegistryConformance:
    """Subclass it and give two fixtures, `backend` (looks) and `other` (registers).

    Attributes:
        ttl: Seconds; short, for the test of nodes that vanish.
        interval: Seconds; less than the TTL.
        bound: Seconds within which every answer and every change must have come.
    """

    ttl: float = 3.0
    interval: float = 1.0
    bound: float = 10.0

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio

    async def vanish(self, other: Backend, record: ServiceRecord) -> None:
        """Register a record with the suite's TTL, and end its owner without deregistering it.

        Override it: for instance register over a connection of its own and cut that.
        """
        pytest.skip(f"no way given to let {record.name} of {other} vanish")

    async def test_a_registered_service_is_found(self, backend: Backend, other: Backend) -> None:
        record = _record(_name())
        async with self._register(other, record):
            found = await _registry(backend).get_service(record.name)

        assert found == (record,)

    async def test_a_registry_finds_what_it_registered_itself(self, backend: Backend) -> None:
        record = _record(_name())
        async with self._register(backend, record):
            assert await _registry(backend).get_service(record.name) == (record,)

    async def test_an_unknown_service_is_reported_within_a_bound(self, backend: Backend) -> None:
        async with asyncio.timeout(self.bound):
            assert await _registry(backend).get_service(_name()) == ()

    async def test_leaving_takes_the_nodes_back(self, backend: Backend, other: Backend) -> None:
        record = _record(_name())
        async with self._register(other, record):
            pass

        assert await _registry(backend).get_service(record.name) == ()

    async def test_all_that_a_record_says_survives(self, backend: Backend, other: Backend) -> None:
        node = Node(id="n-1", address="a.b.c", metadata={"zone": "a", "protocol": "mucp", "x": ""})
        record = ServiceRecord(
            name=_name(),
            version="1.2.3-beta+4",
            metadata={"team": "Zoë ☃", "empty": ""},
            endpoints=_ENDPOINTS,
            nodes=(node, Node(id="n-2", address="_INBOX.x-y_z")),
        )
        async with self._register(other, record):
            [found] = await _registry(backend).get_service(record.name)

        assert found == record

    async def test_versions_stand_side_by_side(self, backend: Backend, other: Backend) -> None:
        name = _name()
        newer, older = _record(name, "b", version="2.0.0"), _record(name, "a", version="1.0.0")
        async with self._register(other, newer), self._register(backend, older):
            found = await _registry(backend).get_service(name)

        assert found == (older, newer)

    async def test_nodes_of_one_version_are_merged(self, backend: Backend, other: Backend) -> None:
        name = _name()
        registry = _registry(backend)
        async with self._register(other, _record(name, "b")):
            async with self._register(backend, _record(name, "a")):
                both = await registry.get_service(name)
            one = await registry.get_service(name)

        assert both == (_record(name, "a", "b"),)
        assert one == (_record(name, "b"),)

    async def test_nodes_of_one_id_are_told_apart_by_their_addresses(
        self, backend: Backend, other: Backend
    ) -> None:
        name = _name()
        there, here = (
            ServiceRecord(name=name, version="1.0.0", nodes=(Node(id="a", address=address),))
            for address in ("at.a", "at.b")
        )
        both = (replace(there, nodes=there.nodes + here.nodes),)
        async with _registry(backend).watch(name) as sets:
            async with self._register(other, there):
                async with self._register(backend, here):
                    await self._until(sets, lambda found: found == both)
                    assert await _registry(backend).get_service(name) == both
                await self._until(sets, lambda found: found == (there,))
                async with self._register(backend, here):
                    await self._until(sets, lambda found: found == both)
            await self._until(sets, lambda found: found == ())

    async def test_services_are_listed(self, backend: Backend, other: Backend) -> None:
        first, second = sorted((_name(), _name()))
        async with (
            self._register(other, _record(second, "b")),
            self._register(backend, _record(first, "a")),
            self._register(other, _record(first, "b")),
        ):
            listed = await _registry(backend).list_services()
        after = await _registry(backend).list_services()

        ours = [(r.name, len(r.nodes)) for r in listed if r.name in (first, second)]
        assert ours == [(first, 2), (second, 1)]
        assert not {first, second} & {record.name for record in after}

    @pytest.mark.parametrize("name", ["", " ", "a b", "a..b", "a.*", ">", "a\r\nb", "x" * 300])
    async def test_an_unusable_name_is_refused(self, backend: Backend, name: str) -> None:
        with pytest.raises(InvalidName):
            async with self._register(backend, _record(name)):
                pass

    async def test_a_watch_begins_with_the_present_set(
        self, backend: Backend, other: Backend
    ) -> None:
        record = _record(_name())
        registry = _registry(backend)
        async with registry.watch(record.name) as sets:
            before = await self._next(sets)
        async with self._register(other, record), registry.watch(record.name) as sets:
            after = await self._next(sets)

        assert before == ()
        assert after == (record,)

    async def test_a_watch_tells_of_joining_and_leaving(
        self, backend: Backend, other: Backend
    ) -> None:
        name = _name()
        async with _registry(backend).watch(name) as sets:
            assert await self._next(sets) == ()
            async with AsyncExitStack() as second:
                async with AsyncExitStack() as first:
                    await first.enter_async_context(self._register(other, _record(name, "a")))
                    await self._until(sets, lambda found: found == (_record(name, "a"),))
                    await second.enter_async_context(self._register(backend, _record(name, "b")))
                    await self._until(sets, lambda found: found == (_record(name, "a", "b"),))
                await self._until(sets, lambda found: found == (_record(name, "b"),))
            await self._until(sets, lambda found: found == ())

    async def test_a_watch_tells_of_a_node_that_changed(
        self, backend: Backend, other: Backend
    ) -> None:
        name = _name()
        old = _record(name, "a", metadata={"weight": "1"})
        new = _record(name, "a", metadata={"weight": "2"})
        async with _registry(backend).watch(name) as sets:
            async with self._register(other, old):
                await self._until(sets, lambda found: found == (old,))
            async with self._register(other, new):
                await self._until(sets, lambda found: found == (new,))

    async def test_a_watch_hears_of_its_own_service_only(
        self, backend: Backend, other: Backend
    ) -> None:
        name = _name()
        async with _registry(backend).watch(name) as sets:
            assert await self._next(sets) == ()
            async with (
                self._register(other, _record(f"{name}.more")),
                self._register(other, _record(f"{name}more")),
                self._register(other, _record(name)),
            ):
                assert await self._until(sets, bool) == [(_record(name),)]

    async def test_a_slow_watcher_sees_the_newest_set(
        self, backend: Backend, other: Backend
    ) -> None:
        name, registry = _name(), _registry(backend)
        async with AsyncExitStack() as stack, registry.watch(name) as slow:
            assert await self._next(slow) == ()
            async with registry.watch(name) as quick:
                for number in range(20):
                    record = _record(name, f"n-{number:02}")
                    await stack.enter_async_context(self._register(other, record))
                await self._until(quick, lambda found: _count(found) == 20)
            seen = await self._until(slow, lambda found: _count(found) == 20)

            assert len(seen) <= 5

    async def test_two_watches_do_not_take_from_each_other(
        self, backend: Backend, other: Backend
    ) -> None:
        record = _record(_name())
        registry = _registry(backend)
        async with (
            registry.watch(record.name) as one,
            registry.watch(record.name) as two,
            self._register(other, record),
        ):
            await self._until(one, lambda found: found == (record,))
            await self._until(two, lambda found: found == (record,))

    async def test_a_node_that_vanished_is_forgotten(
        self, backend: Backend, other: Backend
    ) -> None:
        record = _record(_name())
        registry = _registry(backend)
        async with registry.watch(record.name) as sets:
            assert await self._next(sets) == ()
            await self.vanish(other, record)
            await self._until(sets, lambda found: found == (record,))
            await self._until(sets, lambda found: found == ())

        assert await registry.get_service(record.name) == ()

    def _register(self, backend: Backend, record: ServiceRecord) -> Registration:
        return _registry(backend).register(record, ttl=self.ttl, interval=self.interval)

    async def _next(self, sets: AsyncIterator[_Set]) -> _Set:
        async with asyncio.timeout(self.bound):
            return await anext(sets)

    async def _until(
        self, sets: AsyncIterator[_Set], wanted: Callable[[_Set], object]
    ) -> list[_Set]:
        """Read until a set is as wanted; returns all that were read, or fails with them."""
        seen: list[_Set] = []
        try:
            async with asyncio.timeout(self.bound):
                async for found in sets:
                    seen.append(found)
                    if wanted(found):
                        return seen
        except TimeoutError:
            raise AssertionError(f"waited {self.bound} s, the watch gave {seen}") from None
        raise AssertionError(f"the watch ended after {seen}")


def _registry(backend: Backend) -> Registry:
    assert backend.registry is not None, "the backend offers no registry"
    return backend.registry


def _name() -> str:
    return f"conformance.{uuid4().hex}"


def _record(
    name: str, *nodes: str, version: str = "1.0.0", metadata: dict[str, str] | None = None
) -> ServiceRecord:
    return ServiceRecord(
        name=name,
        version=version,
        nodes=tuple(
            Node(id=node, address=f"at.{node}", metadata=metadata or {}) for node in nodes or ("a",)
        ),
    )


def _count(found: _Set) -> int:
    return sum(len(record.nodes) for record in found)
