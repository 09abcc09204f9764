from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from micro import Service
from micro.codec import Codecs, default_codecs
from tests.engine import Award, running

ANN = StringValue(value="ann")
FRAMED = b"\0\0\0\0\x05" + ANN.SerializeToString()


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
def test_protobuf_has_grpcs_prefix_before_it(content_type: str) -> None:
    codecs = Codecs(default_codecs())

    assert codecs.encoder_for(content_type, StringValue)(ANN) == FRAMED
    assert codecs.decoder_for(content_type, StringValue)(FRAMED) == ANN


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\0"])
def test_an_empty_body_is_the_empty_message(body: bytes) -> None:
    read = Codecs(default_codecs()).decoder_for("application/grpc", StringValue)

    assert read(body) == StringValue()


def test_a_body_without_the_prefix_is_read_as_it_is() -> None:
    read = Codecs(default_codecs()).decoder_for("application/grpc+proto", StringValue)

    assert read(ANN.SerializeToString()) == ANN


def test_json_can_stand_behind_the_prefix() -> None:
    codecs = Codecs(default_codecs())
    award = Award(user="ann", points=5)
    body = codecs.encoder_for("application/grpc+json", Award)(award)

    assert body[:1] == b"\0"
    assert codecs.decoder_for("application/grpc+json", Award)(body) == award


@pytest.mark.parametrize(
    "content_type", ["application/protobuf", "application/grpc", "application/grpc+proto"]
)
async def test_calls_work_under_every_name_of_protobuf(content_type: str) -> None:
    service = Service("points")

    @service.handler("Points.Echo")
    async def echo(request: StringValue) -> StringValue:
        return request

    async with running(service) as client:
        answer = await client.call(
            "points", "Points.Echo", ANN, StringValue, content_type=content_type
        )

    assert answer == ANN
