"""Which errors of its own an endpoint raises, and how its callers get them back.

An error crosses the wire as its code, its text, the names of its classes and its fields. A caller
that names classes, or whose contract does, gets objects of these. A class that the caller did
not name is never made, whatever the wire says.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from micro.errors import HandlerError, MicroError, UsageError

__all__ = ["as_raised", "check_raises", "describe_raises", "raises", "raises_of"]

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("micro.errors")
_ATTRIBUTE = "__micro_raises__"
_Fields = Mapping[str, tuple[Any, TypeAdapter[Any]]]
_KNOWN_FIELDS: WeakKeyDictionary[type[MicroError], _Fields] = WeakKeyDictionary()
_BASE_STATE = ("detail", "code", "id", "retry_after", "refused", "_details", "_kinds")


def raises(*classes: type[MicroError]) -> Callable[[F], F]:
    """Say on a contract's method, or on a handler, which errors of the application it raises.

    A client made with `Client.use` raises these classes, with their fields:

        class Shop(Protocol):
            @raises(OutOfStock)
            async def order(self, request: Order) -> Receipt: ...

    Raises:
        HandlerError: one is not a class of the application's under `MicroError`.
    """

    def decorate(function: F) -> F:
        setattr(function, _ATTRIBUTE, check_raises(classes))
        return function

    return decorate


def raises_of(function: Callable[..., Any]) -> tuple[type[MicroError], ...]:
    """The classes that `raises` named on a function or method; empty when it was not used."""
    named: tuple[type[MicroError], ...] = getattr(function, _ATTRIBUTE, ())
    return named


def check_raises(classes: Sequence[type[MicroError]]) -> tuple[type[MicroError], ...]:
    """The classes, if each can be known by its name at the other end.

    Raises:
        HandlerError: one is no error of the application's, two have the same name, or the type of
            a field cannot be read.
    """
    names: dict[str, type] = {}
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, MicroError):
            raise HandlerError(f"raises names {cls!r}, which is not a class under MicroError")
        if issubclass(cls, UsageError):
            raise HandlerError(f"raises names {cls.__name__}, which is never sent")
        if names.setdefault(cls.__name__, cls) is not cls:
            raise HandlerError(f"raises names two classes {cls.__name__!r}: rename one")
        _fields_of(cls)
    return tuple(names.values())


def as_raised(error: MicroError, classes: Sequence[type[MicroError]]) -> MicroError:
    """An error that came over the wire, as the first of `classes` that its sender named.

    The object gets its state without a call of its constructor. It is the error itself when none
    of the classes is meant, or when its details do not fit the class's fields.
    """
    known = {cls.__name__: cls for cls in classes}
    cls = next((known[kind] for kind in error.kinds if kind in known), None)
    if cls is None:
        return error
    try:
        values = _read_fields(cls, error.details)
    except (ValidationError, KeyError) as problem:
        _log.debug("details from %s do not fit %s: %s", error.id, cls.__name__, problem)
        return error
    made = cls.__new__(cls, error.detail)
    state = vars(made)
    state.update((name, vars(error)[name]) for name in _BASE_STATE if name in vars(error))
    for name, value in values.items():
        # A frozen dataclass refuses the plain way.
        object.__setattr__(made, name, value)
    return made


def describe_raises(classes: Sequence[type[MicroError]], name_type: Callable[[Any], str]) -> str:
    """The classes as JSON for the registry: name, code and the types of the fields.

    Args:
        classes: The classes.
        name_type: Names a type.
    """
    described = [
        {
            "name": cls.__name__,
            "code": cls.code,
            "fields": {name: name_type(type_) for name, (type_, _) in _fields_of(cls).items()},
        }
        for cls in classes
    ]
    return json.dumps(described, separators=(",", ":"))


def _read_fields(cls: type[MicroError], details: Mapping[str, object]) -> dict[str, object]:
    """The values of a class's fields; those with a default may be absent."""
    return {
        name: adapter.validate_python(details[name])
        for name, (_, adapter) in _fields_of(cls).items()
        if name in details or not _has_default(cls, name)
    }


def _fields_of(cls: type[MicroError]) -> _Fields:
    """The type of each field of a class, and what reads its values."""
    fields = _KNOWN_FIELDS.get(cls)
    if fields is None:
        fields = _KNOWN_FIELDS[cls] = _read_class(cls)
    return fields


def _read_class(cls: type[MicroError]) -> _Fields:
    types: dict[str, Any] = {}
    try:
        for base in reversed(cls.__mro__):
            made = vars(base).get("__init__")
            if inspect.isfunction(made):
                types.update(get_type_hints(made, include_extras=True))
        types.update(get_type_hints(cls, include_extras=True))
        wanted = {name: types.get(name, Any) for name in cls._fields}
        return {name: (type_, TypeAdapter(type_)) for name, type_ in wanted.items()}
    except (NameError, TypeError, PydanticUserError) as error:
        raise HandlerError(f"class {cls.__qualname__}: a field cannot be read: {error}") from error


def _has_default(cls: type[MicroError], name: str) -> bool:
    missing = object()
    return getattr(cls, name, missing) is not missing
