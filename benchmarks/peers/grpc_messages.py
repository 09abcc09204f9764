"""The gRPC peer's protobuf messages, described here so that no generated file is needed."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["Answer", "Question", "Text"]

_FIELD = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    for name in ("Question", "Answer"):
        message = file.message_type.add(name=name)
        _add(message, "name", 1, _FIELD.TYPE_STRING)
        _add(message, "number", 2, _FIELD.TYPE_INT64)
    _add(file.message_type.add(name="Text"), "text", 1, _FIELD.TYPE_STRING)
    return file


def _add(message: Any, name: str, number: int, type: int) -> None:
    message.field.add(name=name, number=number, type=type, label=_FIELD.LABEL_OPTIONAL)


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"bench.{name}"))


Question = _class("Question")
Answer = _class("Answer")
Text = _class("Text")
