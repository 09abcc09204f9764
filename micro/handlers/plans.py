"""How to call each handler of a run: made when the run starts, so that a call looks nothing up.

Values stand in one list: the request, the context, what lives as long as the run, and then the
value of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from micro.context import Context
from micro.errors import UsageError
from micro.handlers.annotations import function_error, location_of
from micro.handlers.depends import REQUEST, Argument, Provider, Source, Style
from micro.handlers.providers import Providers

__all__ = ["Call", "Plan", "Planner", "RunValues"]

Call = Callable[[list[Any]], Any]
"""Calls a function with some of the values."""


class RunValues:
    """What lives as long as one run: the values of lifespans, and what is injected by type.

    Args:
        providers: Those of the service.
        run: What `Providers.given` makes the injected values of.
    """

    def __init__(self, providers: Providers, run: object) -> None:
        self.providers = providers
        self._values: dict[Source, Any] = {
            type_: give(run) for type_, give in providers.given.items()
        }

    def add(self, lifespan: Provider, value: object) -> None:
        """Keep the value of a lifespan that was opened."""
        self._values[lifespan] = value

    def __contains__(self, lifespan: Provider) -> bool:
        return lifespan in self._values

    def get(self, asking: Callable[..., Any], source: Source) -> Any:
        """The value of a lifespan, or what is injected by type.

        Raises:
            UsageError: the lifespan is not open.
        """
        if source in self._values:
            return self._values[source]
        where = location_of(source.function) if isinstance(source, Provider) else source
        raise UsageError(
            f"{location_of(asking)}: it depends on {where}, which is not open yet; lifespans open"
            " in the order in which they are declared, before start hooks and tasks"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to call one handler.

    Attributes:
        fixed: The values that are the same for every call; the request and the context come first.
        steps: The providers to call, in order.
        call: Calls the handler.
        single: The only step, if it is an async generator, as it is for most handlers.
    """

    fixed: list[Any]
    steps: tuple[tuple[Call, Provider], ...]
    call: Call
    single: tuple[Call, Provider] | None


class Planner:
    """Makes the plan of one handler; use it once.

    Args:
        values: What lives as long as the run.
    """

    def __init__(self, values: RunValues) -> None:
        self._run = values
        self._sources: list[Source] = [REQUEST, Context]
        self._path: list[Provider] = []

    def plan(self, function: Callable[..., Any], arguments: tuple[Argument, ...]) -> Plan:
        """Plan a call.

        Raises:
            HandlerError: overrides have made a cycle.
            UsageError: a lifespan is not open.
        """
        steps: list[Provider] = []
        fixed: list[Any] = [None, None]
        self._visit(function, arguments, steps, fixed)
        index = {source: place for place, source in enumerate(self._sources)}
        index.update({step: len(fixed) + number for number, step in enumerate(steps)})
        calls = tuple((self._call(one.called, one.arguments, index), one) for one in steps)
        one = len(steps) == 1 and steps[0].style is Style.ASYNC_GENERATOR
        return Plan(
            fixed=fixed,
            steps=calls,
            call=self._call(function, arguments, index),
            single=calls[0] if one else None,
        )

    def _visit(
        self,
        function: Callable[..., Any],
        arguments: tuple[Argument, ...],
        steps: list[Provider],
        fixed: list[Any],
    ) -> None:
        for argument in arguments:
            source = self._used(argument.source)
            if source in self._sources or source in steps:
                continue
            if not isinstance(source, Provider) or source.is_lifespan:
                fixed.append(self._run.get(function, source))
                self._sources.append(source)
                continue
            if source in self._path:
                raise function_error(
                    function,
                    f"an override makes a cycle: {location_of(source.function)} depends on itself",
                )
            self._path.append(source)
            self._visit(source.function, source.arguments, steps, fixed)
            self._path.pop()
            steps.append(source)

    def _used(self, source: Source) -> Source:
        return self._run.providers.in_place_of(source) if isinstance(source, Provider) else source

    def _call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Argument, ...],
        index: Mapping[Source, int],
    ) -> Call:
        places = [index[self._used(one.source)] for one in arguments if not one.by_name]
        names = {one.name: index[self._used(one.source)] for one in arguments if one.by_name}
        if names:
            return lambda values: function(
                *[values[place] for place in places],
                **{name: values[place] for name, place in names.items()},
            )
        if not places:
            return lambda _: function()
        if len(places) == 1:
            (place,) = places
            return lambda values: function(values[place])
        chosen = itemgetter(*places)
        return lambda values: function(*chosen(values))
