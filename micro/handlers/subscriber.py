"""Subscribers: a user's function that handles the events of a topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

from micro.codec import Codecs
from micro.errors import HandlerError, InvalidName
from micro.handlers.annotations import location_of
from micro.handlers.durable import DurableOptions, DurableSpec, durable_from_options
from micro.handlers.injection import Injected, ThreadBind
from micro.handlers.options import SubscriberBounds, check_subscriber_bounds
from micro.handlers.plans import RunValues
from micro.handlers.providers import Providers
from micro.handlers.servable import check_servable, type_name
from micro.handlers.signature import Bind, Kind, read_signature
from micro.handlers.supertype import takes
from micro.names import camel_case, check_pattern, check_queue
from micro.topic import Topic, name_of, type_of

__all__ = ["SubscriberBounds", "SubscriberSpec", "subscriber_from_function"]

_DURABLE = tuple(DurableOptions.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberSpec:
    """One function that handles the events of a topic.

    Attributes:
        name: The function's name in CamelCase, after its class's and a dot for a bound method.
        topic: A topic or a pattern with wildcards.
        queue: The group of which one member receives each event; `None` for every instance.
        handler: The user's function, or bound method.
        event_type: What to decode; `NoneType` when the function takes no event.
        bind: Calls it with `(event, context)`, leaving out what it does not take.
        takes_event: Whether it has a parameter for the event.
        blocking: A plain `def`: it must run in a thread, not on the event loop.
        max_concurrency: Events that are handled at once; `None` leaves it to the service.
        max_queue: Further events that may wait; `None` leaves it to the service.
        timeout: Seconds for one event, 0 for no limit; `None` leaves it to the service.
        injected: Calls a function that has dependencies; `None` for one that has none.
        bind_thread: For a plain `def` that has dependencies, in place of `bind`.
        durable: How it reads a kept topic; `None` for one that is not durable.
    """

    name: str
    topic: str
    queue: str | None
    handler: Callable[..., Any]
    event_type: Any
    bind: Bind
    takes_event: bool = True
    blocking: bool = False
    max_concurrency: int | None = None
    max_queue: int | None = None
    timeout: float | None = None
    injected: Injected | None = None
    bind_thread: ThreadBind | None = None
    durable: DurableSpec | None = None

    def resolve(self, values: RunValues) -> SubscriberSpec:
        """This subscriber with what a run gives its function.

        Raises:
            UsageError: a lifespan that it depends on is not open.
        """
        if self.injected is None:
            return self
        injected = self.injected.resolve(values)
        threaded = injected.threaded if self.blocking else None
        return replace(self, injected=injected, bind=injected.unary, bind_thread=threaded)


def subscriber_from_function(
    function: Callable[..., Any],
    topic: str | Topic[Any],
    *,
    queue: str | None = None,
    localns: Mapping[str, Any] | None = None,
    codecs: Codecs | None = None,
    providers: Providers | None = None,
    grouped: bool = False,
    **bounds: Unpack[SubscriberBounds],
) -> SubscriberSpec:
    """Make a subscriber of a function or a bound method; what it returns is ignored.

    Args:
        function: An `async def`, or a plain `def` (which runs in a thread).
        topic: A `Topic`, a topic's name, or a pattern with wildcards.
        queue: The group of which one member receives each event; `None` for every instance.
        localns: The decorating frame's locals, as for `endpoint_from_function`.
        codecs: Must carry the type of the event; not checked when not given.
        providers: What the function can depend on.
        grouped: Whether the decorator named a queue group.
        **bounds: See `SubscriberBounds`, and `DurableOptions` for a durable subscriber.

    Raises:
        HandlerError: the signature cannot be served, an option cannot be used, or the function
            handles another type than the topic's.
        InvalidName: the topic or the queue cannot be used.
    """
    durable_options = {key: value for key, value in bounds.items() if key in _DURABLE}
    check_subscriber_bounds(
        function, {key: value for key, value in bounds.items() if key not in _DURABLE}
    )
    durable = durable_from_options(function, topic, durable_options, grouped=grouped)
    if durable is not None:
        _check_durable_bounds(function, bounds)
    signature = read_signature(function, localns, providers)
    if signature.kind is not Kind.UNARY:
        raise HandlerError(
            f"{location_of(function)}: a subscriber is called once for each event; it takes no "
            "stream and yields none"
        )
    if codecs is not None:
        check_servable(codecs, function, event=signature.request_type)
    if signature.takes_request:
        _check_fits(function, signature.request_type, topic)
    owner = getattr(function, "__self__", None)
    prefix = "" if owner is None else f"{camel_case(type(owner).__name__)}."
    return SubscriberSpec(
        name=prefix + camel_case(function.__name__),
        topic=_checked(function, check_pattern, "topic", name_of(topic)),
        queue=None if queue is None else _checked(function, check_queue, "queue", queue),
        handler=function,
        event_type=signature.request_type,
        bind=signature.bind,
        injected=signature.injected,
        takes_event=signature.takes_request,
        blocking=signature.blocking,
        durable=durable,
        max_concurrency=bounds.get("max_concurrency"),
        max_queue=bounds.get("max_queue"),
        timeout=bounds.get("timeout"),
    )


def _check_durable_bounds(function: Callable[..., Any], bounds: Mapping[str, object]) -> None:
    place = location_of(function)
    if "max_queue" in bounds:
        raise HandlerError(
            f"{place}: the events of a durable subscriber wait in the broker: leave max_queue out"
        )
    if bounds.get("timeout") == 0:
        raise HandlerError(
            f"{place}: a durable subscriber needs a timeout, after which its event is tried again:"
            " write timeout=300 or so for long work"
        )


def _check_fits(function: Callable[..., Any], type_: Any, topic: str | Topic[Any]) -> None:
    given = type_of(topic)
    if given is Any or takes(type_, given):
        return
    raise HandlerError(
        f"{location_of(function)}: it handles {type_name(type_)}, but topic {str(topic)!r} carries "
        f"{type_name(given)}: annotate the event with that, or with a class above it"
    )


def _checked(
    function: Callable[..., Any], check: Callable[[str], str], what: str, name: Any
) -> str:
    if not isinstance(name, str):
        raise HandlerError(f"{location_of(function)}: its {what} must be text, got {name!r}")
    try:
        return check(name)
    except InvalidName as error:
        raise InvalidName(f"{location_of(function)}: {error.detail}") from None
