"""Which node gets a call: filters narrow the nodes, a strategy picks one of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from micro.errors import ConfigError
from micro.registry.record import Node

__all__ = ["Candidate", "Strategy", "Where", "least_in_flight", "pick_random", "strategy_named"]


_MOST_TURNS = 1024


class Candidate(Protocol):
    """A node as a strategy sees it.

    Attributes:
        node: The node's record.
        version: The version of the service it runs.
    """

    node: Node
    version: str

    @property
    def in_flight(self) -> int:
        """How many calls and streams this client has under way at the node."""


C = TypeVar("C", bound=Candidate)

Strategy = Callable[[Sequence[C]], C]
"""Picks one of at least one candidates; runs for every call, so it is quick and never waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A filter of nodes: every part that is given must hold.

    Attributes:
        version: The version of the service, exactly.
        node: The node's id, exactly.
        metadata: Keys and values that the node's metadata must have.
    """

    version: str | None = None
    node: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    def allows(self, candidate: Candidate) -> bool:
        """Whether a candidate passes."""
        if self.version is not None and candidate.version != self.version:
            return False
        if self.node is not None and candidate.node.id != self.node:
            return False
        given = candidate.node.metadata
        return all(given.get(key) == value for key, value in self.metadata.items())


def pick_random(candidates: Sequence[C]) -> C:
    """Any candidate, all equally likely."""
    return candidates[int(random.random() * len(candidates))]


def least_in_flight(candidates: Sequence[C]) -> C:
    """The less busy of two random candidates: near the best balance without looking at all."""
    count = len(candidates)
    if count == 1:
        return candidates[0]
    first = int(random.random() * count)
    second = (first + 1 + int(random.random() * (count - 1))) % count
    one, other = candidates[first], candidates[second]
    return one if one.in_flight <= other.in_flight else other


class RoundRobin:
    """One candidate after the other, in the order of their node ids.

    One object serves all services of a client, so each set of candidates has a turn of its own:
    with a common one, calls to two services in alternation would each meet half of the nodes. It
    starts anywhere, so that many clients do not all start with the same node.
    """

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def __call__(self, candidates: Sequence[C]) -> C:
        first = candidates[0].node.id
        turn = self._turns.get(first)
        if turn is None:
            if len(self._turns) >= _MOST_TURNS:
                self._turns.clear()
            turn = int(random.random() * len(candidates))
        self._turns[first] = turn + 1
        return candidates[turn % len(candidates)]


def strategy_named(name: str) -> Strategy[Any]:
    """A new strategy by the name that settings use.

    Raises:
        ConfigError: there is none of that name.
    """
    if name == "random":
        return pick_random
    if name == "round_robin":
        return RoundRobin()
    if name == "least_in_flight":
        return least_in_flight
    raise ConfigError(f"selector {name!r}: choose random, round_robin or least_in_flight")
