"""Types as go-micro describes them in its registry: trees of names, at most three levels deep.

The rules are those of go-micro's `server/extractor.go`; what Go has no type for goes by the
JSON that carries it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as read_annotations

from pydantic import BaseModel

from micro.handlers.annotations import bare_type
from micro.handlers.endpoint import Endpoint
from micro.handlers.raises import describe_raises
from micro.handlers.subscriber import SubscriberSpec
from micro.registry.record import EndpointRecord, ValueRecord

__all__ = ["endpoint_record", "subscriber_record", "type_in_go", "value_record"]

_LEVELS = 3
_MAX_SUMMARY_CHARACTERS = 120
_ANY = "any"
# In this order: a bool is an int, a datetime is a date.
_BASICS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (str, "string"),
    (bytes, "[]uint8"),
    (bytearray, "[]uint8"),
    (memoryview, "[]uint8"),
    (datetime.datetime, "Time"),
    (datetime.date, "string"),
    (datetime.time, "string"),
    (datetime.timedelta, "string"),
    (decimal.Decimal, "string"),
    (uuid.UUID, "string"),
    (pathlib.PurePath, "string"),
)
_SLICES = (collections.abc.Sequence, collections.abc.Set)
_CONTEXT = ValueRecord(name="Context", type="Context")
_STREAM = ValueRecord(name="Stream", type="Stream")


def endpoint_record(endpoint: Endpoint) -> EndpointRecord:
    """The registry's record of an endpoint.

    go-micro hides the types of a stream behind `Context` and `Stream`; metadata `kind`, `request`
    and `response` give them by Go's names. `description` is the first line of the handler's
    docstring, `required` the names of the request's required fields, separated by commas.
    """
    metadata = {**_about(endpoint.handler, endpoint.request_type), **endpoint.metadata}
    if endpoint.idempotent:
        metadata["idempotent"] = "true"
    if endpoint.raises:
        metadata["raises"] = describe_raises(endpoint.raises, type_in_go)
    if not endpoint.kind.is_stream:
        return EndpointRecord(
            name=endpoint.name,
            request=value_record(endpoint.request_type),
            response=value_record(endpoint.response_type),
            metadata=metadata,
        )
    metadata |= {
        "stream": "true",
        "kind": str(endpoint.kind),
        "request": type_in_go(endpoint.request_type),
        "response": type_in_go(endpoint.response_type),
    }
    return EndpointRecord(name=endpoint.name, request=_CONTEXT, response=_STREAM, metadata=metadata)


def subscriber_record(subscriber: SubscriberSpec) -> EndpointRecord:
    """The registry's record of a subscriber."""
    return EndpointRecord(
        name=subscriber.name,
        request=value_record(subscriber.event_type),
        metadata={
            **_about(subscriber.handler, subscriber.event_type),
            "subscriber": "true",
            "topic": subscriber.topic,
        },
    )


def value_record(type_: Any) -> ValueRecord:
    """A type's tree: its name, and its fields by their names on the wire."""
    name = type_in_go(type_)
    composite = name.startswith(("[]", "map["))
    return ValueRecord(name="" if composite else name, type=name, values=_values(type_, 1))


def type_in_go(type_: Any) -> str:
    """A type's name as Go would write it: `int`, `[]Entry`, `map[string]float64`."""
    bare = _inner(type_)
    origin = get_origin(bare) or bare
    if bare is NoneType:
        return "Empty"
    if origin in (Union, UnionType):
        return "|".join(dict.fromkeys(type_in_go(choice) for choice in get_args(bare)))
    if origin is Literal:
        names = {type_in_go(type(value)) for value in get_args(bare)}
        return names.pop() if len(names) == 1 else _ANY
    if not isinstance(origin, type) or bare is Any or origin is object:
        return _ANY
    return _class_in_go(bare, origin)


def _about(function: Callable[..., Any], type_: Any) -> dict[str, str]:
    """What people want to know of a handler, in few bytes: every announcement carries it."""
    summary = (inspect.getdoc(function) or "").partition("\n")[0].strip()
    if len(summary) > _MAX_SUMMARY_CHARACTERS:
        summary = f"{summary[: _MAX_SUMMARY_CHARACTERS - 3].rstrip()}..."
    about = {"description": summary, "required": ",".join(_required(_inner(type_)))}
    return {name: text for name, text in about.items() if text}


def _required(type_: Any) -> Iterator[str]:
    """The fields of a struct-like type that have no default, by their names in JSON."""
    origin = get_origin(type_) or type_
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        for name, field in origin.model_fields.items():
            if field.is_required() and not field.exclude:
                yield field.serialization_alias or field.alias or name
    elif isinstance(origin, type) and dataclasses.is_dataclass(origin):
        for each in dataclasses.fields(origin):
            if each.default is each.default_factory is dataclasses.MISSING and each.init:
                yield each.name
    elif _is_typed_dict(origin):
        for name, hint in _annotations(origin, include_extras=True).items():
            # Of postponed annotations the class itself does not know what is required.
            if get_origin(hint) is Required or (
                name in origin.__required_keys__ and get_origin(hint) is not NotRequired
            ):
                yield name


def _class_in_go(bare: Any, origin: type) -> str:
    if issubclass(origin, BaseModel | enum.Enum) or dataclasses.is_dataclass(origin):
        return origin.__name__
    for basic, name in _BASICS:
        if issubclass(origin, basic):
            return name
    if _is_typed_dict(origin):
        return origin.__name__
    arguments = [each for each in get_args(bare) if each is not Ellipsis]
    if issubclass(origin, collections.abc.Mapping):
        key, value = arguments if len(arguments) == 2 else (str, Any)
        return f"map[{type_in_go(key)}]{type_in_go(value)}"
    if issubclass(origin, _SLICES):
        names = {type_in_go(each) for each in arguments}
        return f"[]{names.pop() if len(names) == 1 else _ANY}"
    return origin.__name__


def _values(type_: Any, level: int) -> tuple[ValueRecord, ...]:
    if level >= _LEVELS:
        return ()
    return tuple(
        ValueRecord(name=name, type=type_in_go(field), values=_values(field, level + 1))
        for name, field in _fields(_inner(type_))
    )


def _fields(type_: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a struct-like type, by their names in JSON."""
    origin = get_origin(type_) or type_
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        for name, field in origin.model_fields.items():
            if not field.exclude:
                yield field.serialization_alias or field.alias or name, field.annotation
    elif isinstance(origin, type) and dataclasses.is_dataclass(origin):
        types = _annotations(origin)
        for each in dataclasses.fields(origin):
            yield each.name, types.get(each.name, Any)
    elif _is_typed_dict(origin):
        yield from _annotations(origin).items()


def _is_typed_dict(type_: Any) -> bool:
    # That of typing does not know those of typing_extensions, which pydantic wants before 3.12.
    return isinstance(type_, type) and "__required_keys__" in vars(type_)


def _annotations(cls: type, *, include_extras: bool = False) -> Mapping[str, Any]:
    try:
        return read_annotations(cls, include_extras=include_extras)
    except NameError:
        # A local class's annotations may name what only pydantic can find; a tree without the
        # types of its leaves is better than no service.
        return dict.fromkeys(cls.__annotations__, Any)


def _inner(type_: Any) -> Any:
    """A type without `Annotated`, aliases, new names and `None` beside it."""
    bare = bare_type(type_)
    if isinstance(bare, TypeVar):
        return Any
    if hasattr(bare, "__supertype__"):
        return _inner(bare.__supertype__)
    if get_origin(bare) in (Union, UnionType):
        choices = [each for each in get_args(bare) if each is not NoneType]
        if len(choices) == 1:
            return _inner(choices[0])
        return Union[tuple(choices)]  # noqa: UP007 - built from a list
    return bare
