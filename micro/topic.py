"""Topics: the name of a topic together with the type of its events."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from micro.codec import Codec, Codecs, IncompleteType, default_codecs
from micro.errors import CodecError, HandlerError, InvalidName
from micro.names import check_topic

__all__ = ["Topic", "name_of", "type_of"]

E = TypeVar("E")


# Without slots: a frozen class with slots refuses what `Topic[E](...)` sets, with a TypeError.
@dataclass(frozen=True, init=False)
class Topic(Generic[E]):
    """A topic's name and the type of its events, for publishers, subscribers and type checkers.

    Write it once, in a module that all who publish and subscribe import:

        created = Topic("orders.created", OrderCreated)

    Args:
        name: The topic, without wildcards.
        type: The type of its events.
        codecs: Codecs of the application's own, if only they carry the type.

    Attributes:
        name: The topic.
        type: The type of its events.
        place: The file and line where it was made, for the texts of errors.

    Raises:
        InvalidName: the name cannot be used; the text has file and line.
        HandlerError: no codec carries the type; the text has file and line.
    """

    name: str
    type: Any
    place: str = field(compare=False, repr=False)

    @overload
    def __init__(
        self, name: str, type: builtins.type[E], *, codecs: Iterable[Codec] = ...
    ) -> None: ...

    @overload
    def __init__(
        self: Topic[Any], name: str, type: Any, *, codecs: Iterable[Codec] = ...
    ) -> None: ...

    def __init__(self, name: str, type: Any, *, codecs: Iterable[Codec] = ()) -> None:
        place = _place()
        _check_name(name, place)
        _check_type(name, type, Codecs([*default_codecs(), *codecs]), place)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "place", place)

    def __str__(self) -> str:
        return self.name


def name_of(topic: str | Topic[Any]) -> str:
    """A topic's name, of a `Topic` or as it is."""
    return topic if isinstance(topic, str) else topic.name


def type_of(topic: str | Topic[Any]) -> Any:
    """The type of a topic's events; `Any` for a plain name."""
    return Any if isinstance(topic, str) else topic.type


def _check_name(name: object, place: str) -> None:
    if not isinstance(name, str):
        raise HandlerError(f"{place}: a topic's name must be text, got {name!r}")
    try:
        check_topic(name)
    except InvalidName as error:
        raise InvalidName(f"{place}: {error.detail}") from None


def _check_type(name: str, type_: Any, codecs: Codecs, place: str) -> None:
    try:
        codecs.check(type_)
    except IncompleteType:
        return  # It may be defined further down; the start of a service judges it again.
    except CodecError as error:
        raise HandlerError(
            f"{place}: the events of topic {name!r} cannot be sent: {error.detail}"
        ) from error


def _place() -> str:
    """Where the code is that makes the topic: `Topic[E](...)` has frames of typing in between."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "typing"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
