"""A registry record and the largest message that the server takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import create_model

from micro import Service
from micro.backend import BackendOptions
from micro.errors import ConfigError, PayloadTooLarge
from micro.registry.record import EndpointRecord, Node, ServiceRecord, ValueRecord
from micro.settings.load import load_settings
from micro_nats import open_nats
from micro_nats.devserver import run_server
from micro_nats.registry.fit import fit
from micro_nats.wire.records import decode_result, decode_service

LEAF = ValueRecord(name="leaf", type="string")
TREE = ValueRecord(
    name="root", type="Root", values=(ValueRecord(name="b", type="B", values=(LEAF,)),)
)


def record(endpoints: int, metadata: dict[str, str] | None = None) -> ServiceRecord:
    return ServiceRecord(
        name="points",
        version="1",
        endpoints=tuple(
            EndpointRecord(name=f"Points.Get{number}", request=TREE, response=TREE)
            for number in range(endpoints)
        ),
        nodes=(Node(id="a", address="at.a", metadata=metadata or {}),),
    )


Wide = create_model("Wide", **{f"field_{number}": (str, ...) for number in range(50)})


def wide_service(endpoints: int) -> Service:
    service = Service("points")

    async def get(request: Wide) -> Wide:  # type: ignore[valid-type]
        return request

    for number in range(endpoints):
        service.handler(f"Points.Get{number}")(get)
    return service


def test_a_record_that_fits_is_announced_whole() -> None:
    messages = fit(record(10), ttl=None, limit=1 << 20)

    assert not messages.reduced
    assert decode_service(messages.answer).record == record(10)


@pytest.mark.parametrize("limit", [2500, 3500, 4500, 5500])
def test_types_are_left_out_until_a_record_fits(limit: int) -> None:
    messages = fit(record(20), ttl=5, limit=limit)
    action, announcement = decode_result(messages.announcement)

    assert messages.reduced
    assert len(messages.answer) <= len(messages.announcement) <= limit
    assert action == "create"
    assert announcement is not None
    assert [e.name for e in announcement.record.endpoints] == [e.name for e in record(20).endpoints]
    assert announcement.record.nodes == record(20).nodes
    assert decode_service(messages.answer) == announcement


def test_a_larger_limit_keeps_more_levels_of_the_types() -> None:
    depths = [fit(record(20), ttl=None, limit=limit) for limit in (10_000, 7_000, 4_500, 2_500)]
    sizes = [len(each.announcement) for each in depths]

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= 3


def test_a_record_that_never_fits_is_refused_with_both_sizes() -> None:
    with pytest.raises(PayloadTooLarge, match=r"400 endpoints takes \d+ bytes .* limit is 2000"):
        fit(record(400), ttl=None, limit=2000)


def test_a_record_that_others_would_refuse_is_refused_here() -> None:
    with pytest.raises(ConfigError, match="metadata is longer"):
        fit(record(1, {"x": "y" * 10_000}), ttl=None, limit=1 << 20)


@pytest.mark.parametrize(("endpoints", "starts"), [(100, True), (400, False)])
async def test_a_service_that_starts_on_a_server_with_small_messages_is_found(
    tmp_path: Path, endpoints: int, starts: bool
) -> None:
    config = tmp_path / "server.conf"
    config.write_text("max_payload: 8192")
    service = wide_service(endpoints)
    async with run_server(config=config) as server:
        settings = load_settings(["--transport-address", server.address], {})
        if not starts:
            with pytest.raises(PayloadTooLarge, match="400 endpoints"):
                async with service.running(settings=settings):
                    raise AssertionError("it started")
            return
        async with (
            service.running(settings=settings),
            open_nats(BackendOptions(addresses=(server.address,))) as backend,
        ):
            [found] = await backend.registry.get_service("points")

    assert len(found.endpoints) == endpoints


async def test_many_wide_endpoints_are_found_at_default_limits(tmp_path: Path) -> None:
    service = wide_service(400)
    async with run_server() as server:
        settings = load_settings(["--transport-address", server.address], {})
        async with (
            service.running(settings=settings),
            open_nats(BackendOptions(addresses=(server.address,))) as backend,
        ):
            [found] = await backend.registry.get_service("points")

    assert len(found.endpoints) == 400
