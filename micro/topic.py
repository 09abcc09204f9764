"""Topics: the name of a topic together with the type of its events."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from micro.broker.keep import Keep
from micro.broker.kept_types import TopicSpec
from micro.codec import Codec, Codecs, IncompleteType, default_codecs
from micro.concurrency.units import where
from micro.errors import CodecError, HandlerError, InvalidName, UsageError
from micro.names import check_topic

__all__ = ["Topic", "Upcast", "kept_topic", "kept_topics", "name_of", "type_of"]

E = TypeVar("E")

Upcast = Callable[[Any], Any]
"""Makes of an event of one version, as plain data, the same event in the next version."""

_NO_UPCAST: Mapping[int, Upcast] = MappingProxyType({})
_RESERVED = ("dead", "micro.outcomes")
# Weak, so that the topics of a test or a plugin end with it.
_kept: dict[str, list[weakref.ref[Topic[Any]]]] = {}


# Without slots: a frozen class with slots refuses what `Topic[E](...)` sets, with a TypeError.
@dataclass(frozen=True, init=False)
class Topic(Generic[E]):
    """A topic's name and the type of its events, for publishers, subscribers and type checkers.

    Write it once, in a module that all who publish and subscribe import:

        created = Topic("orders.created", OrderCreated)

    Args:
        name: The topic, without wildcards.
        type: The type of its events.
        keep: How its events are stored: an age such as `"7d"`, a `Keep`, or a `Queue`. Without it
            the topic is plain: an event reaches those who are subscribed, at most once. A process
            that makes a kept topic publishes to it by its name, too.
        version: The version of the type; published events carry it.
        upcast: For older versions, a function that makes of an event's plain data (what the codec
            reads as `Any`) that of the next version: `upcast={1: add_currency}`. Fields that the
            type does not have are ignored, so a newer version needs none.
        codecs: Codecs of the application's own, if only they carry the type.

    Attributes:
        name: The topic.
        type: The type of its events.
        keep: How it is kept; `None` for a plain topic.
        version: The version of its type.
        upcast: What reads older versions.
        place: The file and line where it was made, for the texts of errors.

    Raises:
        InvalidName: the name cannot be used; the text has file and line.
        HandlerError: no codec carries the type, or an option cannot be used; the text has file
            and line.
    """

    name: str
    type: Any
    keep: Keep | None
    version: int
    upcast: Mapping[int, Upcast] = field(compare=False, repr=False)
    place: str = field(compare=False, repr=False)
    # Made once, because every publish asks for it.
    _spec: TopicSpec | None = field(default=None, compare=False, repr=False)

    @overload
    def __init__(
        self,
        name: str,
        type: builtins.type[E],
        *,
        keep: str | timedelta | Keep | None = ...,
        version: int = ...,
        upcast: Mapping[int, Upcast] = ...,
        codecs: Iterable[Codec] = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: Topic[Any],
        name: str,
        type: Any,
        *,
        keep: str | timedelta | Keep | None = ...,
        version: int = ...,
        upcast: Mapping[int, Upcast] = ...,
        codecs: Iterable[Codec] = ...,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        type: Any,
        *,
        keep: str | timedelta | Keep | None = None,
        version: int = 1,
        upcast: Mapping[int, Upcast] = _NO_UPCAST,
        codecs: Iterable[Codec] = (),
    ) -> None:
        place = where(__name__)
        _check_name(name, place)
        _check_type(name, type, Codecs([*default_codecs(), *codecs]), place)
        _check_versions(name, version, upcast, place)
        values: dict[str, Any] = {
            "name": name,
            "type": type,
            "keep": _read_keep(name, keep, place),
            "version": version,
            "upcast": MappingProxyType(dict(upcast)),
            "place": place,
        }
        if values["keep"] is not None:
            values["_spec"] = values["keep"].spec(name)
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)
        if self.keep is not None:
            _remember(self)

    @property
    def spec(self) -> TopicSpec:
        """How a broker keeps it.

        Raises:
            UsageError: it is a plain topic.
        """
        if self._spec is None:
            raise UsageError(
                f"topic {self.name!r} ({self.place}) is not kept: write keep='7d' where it is made"
            )
        return self._spec

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


def _check_versions(name: str, version: int, upcast: Mapping[int, Upcast], place: str) -> None:
    if type(version) is not int or version < 1:
        raise HandlerError(
            f"{place}: the version of topic {name!r} must be a whole number of at least 1, got"
            f" {version!r}"
        )
    for older, function in upcast.items():
        if type(older) is not int or not 1 <= older < version or not callable(function):
            raise HandlerError(
                f"{place}: upcast of topic {name!r} has functions by older versions, as in"
                f" version=2, upcast={{1: from_1_to_2}}; got {older!r}: {function!r}"
            )


def _read_keep(name: str, keep: object, place: str) -> Keep | None:
    if keep is None or isinstance(keep, Keep):
        kept = keep
    elif isinstance(keep, str | timedelta):
        kept = Keep(keep)
    else:
        raise HandlerError(
            f"{place}: keep of topic {name!r} must be an age such as '7d', a Keep or a Queue, got"
            f" {keep!r}"
        )
    if kept is not None and name in _RESERVED:
        raise HandlerError(f"{place}: {name!r} is a topic of the framework: choose another name")
    return kept


def _remember(topic: Topic[Any]) -> None:
    same = _kept.setdefault(topic.name, [])

    def forget(gone: weakref.ref[Topic[Any]], name: str = topic.name) -> None:
        same.remove(gone)
        if not same and _kept.get(name) is same:
            del _kept[name]

    same.append(weakref.ref(topic, forget))


def kept_topics() -> list[Topic[Any]]:
    """All kept topics that this process has made, sorted by name."""
    found = [topic for name in sorted(_kept) for each in _kept[name] if (topic := each())]
    return list(dict.fromkeys(found))


def kept_topic(name: str) -> Topic[Any] | None:
    """The kept topic of a name, if this process has made one.

    Raises:
        UsageError: it has made several that are kept in different ways; the text names them.
    """
    if name not in _kept:
        return None
    found = list(dict.fromkeys(topic for each in _kept[name] if (topic := each())))
    if any(each.keep != found[0].keep for each in found):
        places = ", ".join(f"{each.place} has {each.keep}" for each in found)
        raise UsageError(
            f"topic {name!r} is kept in different ways: {places}; make one Topic and import it"
        )
    return found[0] if found else None
