"""Protobuf bodies, with a message class that is made here: no generated code is needed."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from micro import Client, Service, load_settings
from micro.plugins import Backends
from micro_nats.devserver import NatsServer
from tests.interop.gopeer import GoPeer, GoServer

GO_CALLS, PYTHON_CALLS = "Go calls Python", "Python calls Go"
cell = pytest.mark.cell
PROTOBUF, GRPC = "application/protobuf", "application/grpc+proto"


def message_classes() -> tuple[Any, Any]:
    """`Req {string name = 1; int64 count = 2}` and `Rsp {string msg = 1}`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="interop_greeter.proto", package="interop", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    shapes = {
        "Req": [("name", field.TYPE_STRING), ("count", field.TYPE_INT64)],
        "Rsp": [("msg", field.TYPE_STRING)],
    }
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for number, (label, type_) in enumerate(fields, 1):
            message.field.add(name=label, number=number, type=type_, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"interop.{name}"))
        for name in shapes
    ]
    return made[0], made[1]


Req, Rsp = message_classes()


@pytest.mark.parametrize("content_type", [PROTOBUF, GRPC])
@cell("unary call, protobuf", PYTHON_CALLS)
async def test_python_calls_go_in_protobuf(
    client: Client, go_server: GoServer, content_type: str
) -> None:
    answer = await client.call(
        go_server.name, "Proto.Hello", Req(name="John"), Rsp, content_type=content_type
    )

    assert answer.msg == "Hello John"


@pytest.mark.parametrize(
    "content_type",
    [PROTOBUF, "application/proto-rpc", GRPC],
)
@cell("unary call, protobuf", GO_CALLS)
async def test_go_calls_python_in_protobuf(
    go: GoPeer, nats_server: NatsServer, content_type: str
) -> None:
    service = Service("proto-greeter")

    @service.handler("Proto.Hello")
    async def hello(request: Req) -> Rsp:  # type: ignore[valid-type]
        return Rsp(msg=f"Hello {request.name}")

    settings = load_settings(["--transport_address", nats_server.address], {})
    async with (
        Backends(name="proto", settings=settings) as backends,
        service.running(backends=backends, settings=settings),
    ):
        line = await go.call(
            *("Proto.Hello", "--service", "proto-greeter", "--content-type", content_type),
            name="John",
        )

    assert line["result"]["msg"] == "Hello John"
