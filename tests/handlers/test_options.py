from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from micro import Conflict, Service
from micro.errors import HandlerError, InvalidName, UsageError

HERE = r"test_options\.py:\d+\)"


async def award(request: int) -> int:
    return request


class Ledger:
    async def open(self, request: int) -> int:
        return request


async def on_order(event: int) -> None: ...


HANDLER_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": "Points.Get"}, r"handler has no option 'name': .* as in handler\("),
    ({"localns": {}}, "handler has no option 'localns'"),
    ({"idempotant": True}, "handler has no option 'idempotant'; did you mean 'idempotent'"),
    ({"max_concurency": 5}, "no option 'max_concurency'; did you mean 'max_concurrency'"),
    ({"timeouts": 5}, "did you mean 'timeout'"),
    ({"colour": "red"}, r"no option 'colour' \(it has: idempotent, max_concurrency, timeout"),
    ({"idempotent": "yes"}, "idempotent must be True or False, got 'yes'"),
    ({"idempotent": None}, "idempotent must be True or False, got None"),
    ({"max_concurrency": 0}, "max_concurrency must be at least 1, as a whole number, or None"),
    ({"max_concurrency": 2.5}, "max_concurrency must be .* got 2.5"),
    ({"max_concurrency": True}, "max_concurrency must be .* got True"),
    ({"max_concurrency": "10"}, "max_concurrency must be .* got '10'"),
    ({"timeout": -1}, "timeout must be a number of seconds, more than 0, or None, got -1"),
    ({"timeout": 0}, "timeout must be .* got 0"),
    ({"timeout": float("nan")}, "timeout must be .* got nan"),
    ({"timeout": float("inf")}, "timeout must be .* got inf"),
    ({"timeout": "5s"}, "timeout must be .* got '5s'"),
    ({"metadata": {"a": 1}}, "metadata must be a mapping of text to text"),
    ({"metadata": ["a"]}, "metadata must be a mapping of text to text"),
    ({"raises": Conflict}, "raises must be a list of classes under MicroError"),
    ({"raises": [ValueError]}, "raises must be .* not a class under MicroError"),
]
SUBSCRIBER_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"queu": "a"}, "subscriber has no option 'queu'; did you mean 'queue'"),
    ({"max_queu": 1}, "did you mean 'max_queue'"),
    ({"endurable": True}, "subscriber has no option 'endurable'"),
    ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
    ({"max_queue": -1}, "max_queue must be at least 0"),
    ({"max_queue": "all"}, "max_queue must be .* got 'all'"),
    ({"timeout": -0.5}, "timeout must be a number of seconds, at least 0, or None"),
    ({"timeout": True}, "timeout must be .* got True"),
]


@pytest.mark.parametrize("target", [award, Ledger, Ledger()], ids=["function", "class", "object"])
@pytest.mark.parametrize(("options", "problem"), HANDLER_OPTIONS)
def test_an_option_of_a_handler_that_makes_no_sense_is_refused_where_it_stands(
    target: Any, options: dict[str, Any], problem: str
) -> None:
    decorate: Callable[[Any], Any] = Service("points").handler(**options)

    with pytest.raises(HandlerError, match=problem) as caught:
        decorate(target)

    assert isinstance(caught.value, UsageError)
    assert "test_options.py:" in caught.value.detail


@pytest.mark.parametrize(("options", "problem"), SUBSCRIBER_OPTIONS)
def test_an_option_of_a_subscriber_that_makes_no_sense_is_refused_where_it_stands(
    options: dict[str, Any], problem: str
) -> None:
    decorate: Callable[[Any], Any] = Service("points").subscriber("orders", **options)

    with pytest.raises(HandlerError, match=problem) as caught:
        decorate(on_order)

    assert "test_options.py:" in caught.value.detail


@pytest.mark.parametrize(
    ("topic", "queue"),
    [("orders created", "q"), ("orders..created", "q"), ("orders", "a b"), ("orders", "a.*")],
)
def test_a_topic_or_queue_that_cannot_be_used_is_refused_where_it_stands(
    topic: str, queue: str
) -> None:
    with pytest.raises(InvalidName, match=HERE):
        Service("points").subscriber(topic, queue=queue)(on_order)


@pytest.mark.parametrize("name", ["Award", "Points.", "Points Award", "a.b.c"])
def test_a_name_that_cannot_be_used_is_refused_where_it_stands(name: str) -> None:
    with pytest.raises(InvalidName, match=HERE):
        Service("points").handler(name)(award)


def test_a_queue_that_is_no_text_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(HandlerError, match=f"{HERE}: its queue must be text, got 5"):
        Service("points").subscriber("orders", queue=wrong)(on_order)


def test_options_that_make_sense_are_taken() -> None:
    service = Service("points")
    service.handler(idempotent=True, max_concurrency=10, timeout=0.5, metadata={}, raises=[])(award)
    service.handler(max_concurrency=None, timeout=None)(Ledger)
    service.subscriber("orders", max_concurrency=1, max_queue=0, timeout=0)(on_order)
