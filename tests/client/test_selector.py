"""Which node gets a call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from micro.client.selector import Where, least_in_flight, pick_random, strategy_named
from micro.errors import ConfigError
from micro.registry.record import Node


@dataclass
class Peer:
    node: Node
    version: str = "1.0.0"
    in_flight: int = 0


def peers(*names: str) -> list[Peer]:
    return [Peer(Node(id=name, address=name)) for name in names]


def test_random_reaches_every_node() -> None:
    nodes = peers("a", "b", "c")
    picked = Counter(pick_random(nodes).node.id for _ in range(600))

    assert set(picked) == {"a", "b", "c"}
    assert min(picked.values()) > 100


def test_round_robin_takes_one_after_the_other() -> None:
    strategy = strategy_named("round_robin")
    nodes = peers("a", "b", "c")
    picked = "".join(strategy(nodes).node.id for _ in range(9))

    assert picked in ("abc" * 3, "bca" * 3, "cab" * 3)


def test_round_robin_keeps_the_turns_of_two_services_apart() -> None:
    strategy = strategy_named("round_robin")
    points, orders = peers("p1", "p2"), peers("o1", "o2")
    picked = Counter(strategy(nodes).node.id for _ in range(10) for nodes in (points, orders))

    assert picked == {"p1": 5, "p2": 5, "o1": 5, "o2": 5}


def test_round_robin_forgets_sets_that_come_and_go() -> None:
    strategy = strategy_named("round_robin")
    for number in range(5000):
        strategy(peers(f"n{number}"))

    assert len(strategy._turns) <= 1024


def test_round_robin_goes_on_when_nodes_leave() -> None:
    strategy = strategy_named("round_robin")
    nodes = peers("a", "b", "c")
    for _ in range(7):
        strategy(nodes)

    assert {strategy(nodes[:2]).node.id for _ in range(2)} == {"a", "b"}


def test_the_less_busy_of_two_is_picked() -> None:
    nodes = peers("idle", "busy")
    nodes[1].in_flight = 5

    assert {least_in_flight(nodes).node.id for _ in range(50)} == {"idle"}


def test_the_busiest_of_many_is_never_picked() -> None:
    nodes = peers("a", "b", "c", "busy")
    nodes[3].in_flight = 1
    picked = Counter(least_in_flight(nodes).node.id for _ in range(600))

    assert set(picked) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["random", "round_robin", "least_in_flight"])
def test_every_strategy_takes_the_only_node_there_is(name: str) -> None:
    nodes = peers("a")

    assert strategy_named(name)(nodes) is nodes[0]


def test_a_strategy_that_does_not_exist_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="'best': choose random, round_robin or least_in_flight"):
        strategy_named("best")


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (Where(), True),
        (Where(version="1.0.0"), True),
        (Where(version="1.0.1"), False),
        (Where(node="n"), True),
        (Where(node="m"), False),
        (Where(metadata={"zone": "a"}), True),
        (Where(metadata={"zone": "a", "disk": "ssd"}), True),
        (Where(metadata={"zone": "b"}), False),
        (Where(metadata={"rack": "1"}), False),
        (Where(version="1.0.0", node="n", metadata={"zone": "b"}), False),
    ],
)
def test_a_filter_passes_what_fits_in_every_part(where: Where, passes: bool) -> None:
    node = Node(id="n", address="x", metadata={"zone": "a", "disk": "ssd"})

    assert where.allows(Peer(node)) is passes
