"""Durable subscribers: what their decorator takes, and what their handlers may raise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Protocol, TypedDict, cast, runtime_checkable

from micro.broker.kept_types import Start
from micro.concurrency.units import read_duration, where
from micro.errors import HandlerError
from micro.handlers.annotations import location_of
from micro.topic import Topic, kept_topic

__all__ = [
    "Claims",
    "DurableOptions",
    "DurableSpec",
    "Later",
    "Reject",
    "Retry",
    "durable_from_options",
    "durable_name",
]

Errors = tuple[type[BaseException], ...]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


# Above their users: the default of a DurableSpec is made at import.
def _are_errors(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in value
    )


def _seconds(what: str, value: object) -> float:
    try:
        return read_duration(value)
    except ValueError:
        _refuse(f"{what} of Retry must be a duration, such as 5 or '2m'", value)


def _refuse(text: str, value: object) -> NoReturn:
    raise HandlerError(f"{where(__name__)}: {text}, got {value!r}")


class Later(Exception):
    """Raise it in a durable subscriber to get the event again later. It is not a failure.

    Args:
        wait: How long to wait: seconds, text such as `"5m"`, or a timedelta.
        reason: Why, for the log.

    Attributes:
        seconds: The wait in seconds.

    Raises:
        ValueError: the wait cannot be used.
    """

    def __init__(self, wait: float | str | timedelta, reason: str = "") -> None:
        super().__init__(wait, reason)
        self.seconds: float = read_duration(wait)
        self.reason = reason


class Reject(Exception):
    """Raise it in a durable subscriber to make the event a dead letter at once.

    Args:
        reason: Why; it is kept with the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, init=False)
class Retry:
    """When a durable subscriber gets an event again after a failure.

    `Retry(1, 5, 30, 120)` makes five attempts: the first one, and one after each wait. Then the
    event is a dead letter. An `Unavailable` error with `retry_after` waits for so long instead.

    Args:
        *waits: How long to wait after each failure: seconds, text or timedeltas.
        jitter: The part of a wait that is random: 0.1 makes 9 to 11 s of 10 s.
        never: Errors that make the event a dead letter at once.
        per: Other waits for some errors, by class; the first class that fits counts.
        within: The age of an event after which it is not tried again, `Later` included.

    Attributes:
        waits: In seconds.
        within: In seconds; 0 for no limit.

    Raises:
        HandlerError: a value cannot be used; the text has file and line.
    """

    waits: tuple[float, ...]
    jitter: float
    never: Errors
    per: Mapping[type[BaseException], Retry] = field(hash=False)
    within: float

    def __init__(
        self,
        *waits: float | str | timedelta,
        jitter: float = 0.1,
        never: Errors = (),
        per: Mapping[type[BaseException], Retry] | None = None,
        within: float | str | timedelta | None = None,
    ) -> None:
        if not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
            _refuse("jitter must be a number from 0 to 1", jitter)
        if not _are_errors(never):
            _refuse("never must be a tuple of exception classes", never)
        table = dict(per or {})
        if not _are_errors(tuple(table)) or not all(isinstance(t, Retry) for t in table.values()):
            _refuse("per must map exception classes to Retry", per)
        values = {
            "waits": tuple(_seconds("a wait", each) for each in waits),
            "jitter": float(jitter),
            "never": tuple(never),
            "per": MappingProxyType(table),
            "within": 0.0 if within is None else _seconds("within", within),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def table_for(self, error: BaseException) -> Retry:
        """The table of waits for an error."""
        return next((one for cls, one in self.per.items() if isinstance(error, cls)), self)


Redact = Callable[[bytes], bytes]
"""Takes from the body of a dead letter what must not be kept."""

DEFAULT_RETRY = Retry(1, 5, 30, 120)
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_CONCURRENCY = 32


@runtime_checkable
class Claims(Protocol):
    """What `once=` takes: an inbox."""

    def claim(self, durable: str, id: str) -> AbstractAsyncContextManager[bool]:
        """Claim an event; see `Inbox.claim`."""
        ...

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Check that claims can be made; see `Inbox.opened`."""
        ...


class DurableOptions(TypedDict, total=False):
    """Options of a durable subscriber.

    Attributes:
        durable: `True`, or a name: the service has a position of its own on the topic, which must
            be kept. Its instances share it; a second one on the same topic needs a name.
        start: Where the position begins when it is made: the oldest event (`all`), the next one
            (`new`), a time, or a sequence.
        retry: When an event comes again after a failure.
        once: An inbox; an event that it knows is not handled again.
        fatal: Errors of a broken release, such as ImportError: such an event is never a dead
            letter and never charged, and the durable pauses.
        each_instance: Every instance has a position of its own; it needs the setting `server_id`.
        dead: What a dead letter keeps of the body: all of it (`full`), nothing (`metadata`), so
            that it cannot be replayed, or what a function of yours makes of it.
    """

    durable: bool | str
    start: Start
    retry: Retry
    once: Claims | None
    fatal: Errors
    each_instance: bool
    dead: Literal["full", "metadata"] | Redact


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSpec:
    """How a durable subscriber reads its topic.

    Attributes:
        topic: The kept topic.
        name: Its name beside the service's; empty for the service's own position.
        start: Where a new position begins.
        retry: When an event comes again.
        once: An inbox, if any.
        fatal: Errors that pause it.
        each_instance: Whether each instance has a position.
        dead: What a dead letter keeps of the body.
    """

    topic: Topic[Any]
    name: str = ""
    start: Start = "all"
    retry: Retry = DEFAULT_RETRY
    once: Claims | None = None
    fatal: Errors = ()
    each_instance: bool = False
    dead: Literal["full", "metadata"] | Redact = "full"


def durable_name(service: str, name: str = "", instance: str = "") -> str:
    """The name of a position: `<service>`, `<service>_<name>`, and `_<instance>` after it."""
    return "_".join(part for part in (service, name, instance) if part).replace(".", "_")


def durable_from_options(
    function: Callable[..., Any],
    topic: str | Topic[Any],
    options: Mapping[str, object],
    *,
    grouped: bool,
) -> DurableSpec | None:
    """Read the options of a durable subscriber; `None` for one that is not durable.

    Args:
        function: The handler, for the texts of errors.
        topic: A `Topic`, or the name of a kept topic of this process.
        options: See `DurableOptions`.
        grouped: Whether the decorator named a queue group.

    Raises:
        HandlerError: an option cannot be used, or the topic is not kept.
    """
    place = location_of(function)
    durable = options.get("durable", False)
    kept = kept_topic(topic) if isinstance(topic, str) else topic if topic.keep else None
    if durable is False:
        for name in sorted(options.keys() - {"durable"}):
            raise HandlerError(f"{place}: {name} is for durable subscribers: write durable=True")
        if kept is not None and kept.keep is not None and kept.keep.work:
            raise HandlerError(
                f"{place}: topic {kept.name!r} ({kept.place}) is a work queue: write durable=True"
            )
        return None
    if grouped:
        raise HandlerError(
            f"{place}: a durable subscriber is a group of its own: leave queue out, and name a"
            " further group by durable='name'"
        )
    if kept is None:
        raise HandlerError(f"{place}: {_not_kept(topic)}")
    for name, (fits, wanted) in _CHECKS.items():
        if name in options and not fits(options[name]):
            raise HandlerError(f"{place}: {name} must be {wanted}, got {options[name]!r}")
    own = {name: value for name, value in options.items() if name != "durable"}
    given = cast("dict[str, Any]", own)
    spec = DurableSpec(topic=kept, name=durable if isinstance(durable, str) else "", **given)
    if spec.each_instance and kept.keep is not None and kept.keep.work:
        raise HandlerError(f"{place}: {kept.name!r} is a work queue: leave each_instance out")
    return spec


def _not_kept(topic: str | Topic[Any]) -> str:
    if isinstance(topic, str):
        return (
            f"nothing in this process keeps topic {topic!r}, so no subscriber of it can be durable:"
            " give a Topic that has keep='7d' (a durable takes one topic, never a pattern)"
        )
    return (
        f"topic {topic.name!r} ({topic.place}) is not kept, so no subscriber of it can be durable:"
        " write keep='7d' where it is made"
    )


def _is_start(value: object) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return value in ("all", "new") or (type(value) is int and value > 0)


def _is_durable(value: object) -> bool:
    return value is True or (isinstance(value, str) and bool(_NAME.fullmatch(value)))


_CHECKS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "durable": (_is_durable, "True, or a name of letters, digits, '-' and '_'"),
    "start": (_is_start, "'all', 'new', a datetime with a time zone, or a sequence"),
    "retry": (lambda value: isinstance(value, Retry), "a Retry, as in Retry(1, 5, 30)"),
    "once": (lambda value: value is None or isinstance(value, Claims), "an Inbox, or None"),
    "fatal": (_are_errors, "a tuple of exception classes"),
    "dead": (
        lambda value: value in ("full", "metadata") or callable(value),
        "'full', 'metadata', or a function that takes and gives the body",
    ),
    "each_instance": (lambda value: isinstance(value, bool), "True or False"),
}
