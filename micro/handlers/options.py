"""What a decorator may be told, and the check that it was told nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, TypedDict

from micro.errors import HandlerError, MicroError
from micro.handlers.annotations import location_of
from micro.handlers.durable import DurableOptions
from micro.handlers.raises import check_raises

__all__ = [
    "EndpointOptions",
    "SubscriberBounds",
    "check_endpoint_options",
    "check_subscriber_bounds",
]

Check = Callable[[object], str]
"""Says what a value must be, or nothing when it is that."""


class EndpointOptions(TypedDict, total=False):
    """What a decorator may say of an endpoint beyond its name.

    Attributes:
        idempotent: Running it twice does no harm, so that clients may try again.
        max_concurrency: How many calls may run at once; `None` leaves it to the service.
        timeout: Seconds that one call may take, though its caller would wait for longer; `None`
            leaves it to the caller, and to the service where the caller sets no limit.
        metadata: Text for the registry.
        raises: Errors of the application's own that it raises; the registry tells callers of them.
    """

    idempotent: bool
    max_concurrency: int | None
    timeout: float | None
    metadata: Mapping[str, str]
    raises: Sequence[type[MicroError]]


class SubscriberBounds(DurableOptions, total=False):
    """Bounds of one subscriber; `None` leaves each to the service's settings.

    A durable subscriber has 32 events and 30 s where the decorator does not say.

    Attributes:
        max_concurrency: Events that are handled at once; with 1, one ends before the next starts.
        max_queue: Further events that may wait; the next is dropped and counted.
        timeout: Seconds for one event, 0 for no limit; a handler that has not ended by then
            is cancelled, counted and logged.
    """

    max_concurrency: int | None
    max_queue: int | None
    timeout: float | None


def check_endpoint_options(target: Any, options: Mapping[str, object]) -> None:
    """Check the options of `handler()`.

    Raises:
        HandlerError: one is unknown or has a value that cannot be used; the text names the
            function, its file and line.
    """
    _check(target, "handler", options, _ENDPOINT)


def check_subscriber_bounds(target: Any, bounds: Mapping[str, object]) -> None:
    """Check the options of `subscriber()`.

    Raises:
        HandlerError: as `check_endpoint_options`.
    """
    _check(target, "subscriber", bounds, _SUBSCRIBER)


def _check(
    target: Any, decorator: str, options: Mapping[str, object], known: Mapping[str, Check]
) -> None:
    for name, value in options.items():
        check = known.get(name)
        if check is None:
            raise HandlerError(
                f"{location_of(target)}: {decorator} has no option {name!r}{_hint(name, known)}"
            )
        if wanted := check(value):
            raise HandlerError(f"{location_of(target)}: {name} must be {wanted}, got {value!r}")


def _hint(name: str, known: Mapping[str, Check]) -> str:
    if name == "name":
        return ': the name of an endpoint comes first, as in handler("Points.History")'
    (near,) = get_close_matches(name, (*known, "queue", "topic"), 1) or ("",)
    return f"; did you mean {near!r}?" if near else f" (it has: {', '.join(known)})"


def _is_flag(value: object) -> str:
    return "" if isinstance(value, bool) else "True or False"


def _is_count(least: int) -> Check:
    def check(value: object) -> str:
        if value is None or (type(value) is int and value >= least):
            return ""
        return f"at least {least}, as a whole number, or None"

    return check


def _is_seconds(value: object, *, or_zero: bool = False) -> str:
    if value is None:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and isfinite(value) and (value > 0 or (or_zero and value == 0)):  # type: ignore[arg-type,operator]  # a number
        return ""
    return f"a number of seconds, {'at least' if or_zero else 'more than'} 0, or None"


def _is_seconds_or_zero(value: object) -> str:
    return _is_seconds(value, or_zero=True)


def _is_text_map(value: object) -> str:
    if isinstance(value, Mapping) and all(
        isinstance(each, str) for pair in value.items() for each in pair
    ):
        return ""
    return "a mapping of text to text"


def _is_raises(value: object) -> str:
    if not isinstance(value, list | tuple | set | frozenset):
        return "a list of classes under MicroError, as in raises=[OutOfStock]"
    try:
        check_raises(tuple(value))
    except HandlerError as error:
        return f"a list of errors that can be told apart ({error.detail})"
    return ""


_ENDPOINT: Mapping[str, Check] = {
    "idempotent": _is_flag,
    "max_concurrency": _is_count(1),
    "timeout": _is_seconds,
    "metadata": _is_text_map,
    "raises": _is_raises,
}
_SUBSCRIBER: Mapping[str, Check] = {
    "max_concurrency": _is_count(1),
    "max_queue": _is_count(0),
    "timeout": _is_seconds_or_zero,
}
