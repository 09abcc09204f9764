"""`micro topics schema`, and `micro topics check --against`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel

from micro import Topic
from micro.cli.schemas import compare_schemas, topic_schemas


class Item(BaseModel):
    name: str


class Order(BaseModel):
    id: int
    user: str | None = None
    items: list[Item] = []


class WithDefault(Order):
    price: int = 0


class WithPrice(Order):
    price: int


class WithoutId(BaseModel):
    user: str | None = None


class OtherId(Order):
    id: str  # type: ignore[assignment]  # that is what is tested


class RealId(Order):
    id: float  # type: ignore[assignment]  # that is what is tested


class PricedItem(Item):
    price: int


class PricedItems(Order):
    items: list[PricedItem] = []  # type: ignore[assignment]  # that is what is tested


class Kinds(Order):
    user: Literal["ann", "bob"] | None = None


@dataclass
class Tree:
    children: list[Tree] = field(default_factory=list)


OLDER = "this code cannot read older events: "
NEWER = "this code cannot write for older code: "


@pytest.mark.parametrize(
    ("old", "new", "errors"),
    [
        (Order, Order, []),
        (Tree, Tree, []),
        (Order, WithDefault, []),
        (WithDefault, Order, []),
        (Order, WithPrice, [OLDER + "price is required, and is not there"]),
        (WithPrice, Order, [NEWER + "price is required, and is not there"]),
        (Order, WithoutId, [NEWER + "id is required, and is not there"]),
        (Order, RealId, [NEWER + "id can be number, expected integer"]),
        (
            Order,
            OtherId,
            [
                NEWER + "id can be string, expected integer",
                OLDER + "id can be integer, expected string",
            ],
        ),
        (Order, PricedItems, [OLDER + "items[].price is required, and is not there"]),
        (Order, Kinds, [OLDER + 'user can be string, expected "ann" or "bob" or null']),
        (
            int,
            str,
            [
                NEWER + "it can be string, expected integer",
                OLDER + "it can be integer, expected string",
            ],
        ),
    ],
)
def test_what_two_versions_cannot_read_of_each_other_is_told(old, new, errors) -> None:
    older = topic_schemas([Topic("orders", old)])["orders"]

    assert compare_schemas(Topic("orders", new), older) == errors


def test_an_upcast_makes_older_events_readable() -> None:
    older = topic_schemas([Topic("orders", Order)])["orders"]
    newer = Topic("orders", WithPrice, version=2, upcast={1: lambda event: {**event, "price": 0}})

    assert compare_schemas(newer, older) == []


MODULE = """
from pydantic import BaseModel
from micro import Topic

class Order(BaseModel):
    id: {type}

created = Topic("{topic}", Order, keep="7d")
"""


def test_check_compares_with_a_file_and_asks_no_server(micro, tmp_path) -> None:
    topic = f"cli.{uuid4().hex}"
    path, file = tmp_path / f"orders_{uuid4().hex}.py", tmp_path / "schemas.json"
    path.write_text(MODULE.format(topic=topic, type="int"))
    code, out, _ = micro("topics", "schema", str(path))
    known = json.loads(out)
    file.write_text(json.dumps({topic: known[topic]}))
    same = micro("topics", "check", str(path), "--against", str(file))
    known[topic]["writes"]["properties"]["id"]["type"] = "string"
    file.write_text(json.dumps({topic: known[topic]}))
    other = micro("topics", "check", str(path), "--against", str(file))

    assert code == same[0] == 0
    assert other[0] == 1
    (step,) = [each for each in json.loads(other[1]) if each["topic"] == topic]
    assert step["action"] == "incompatible"
    assert step["details"] == [OLDER + "id can be string, expected integer"]


@pytest.mark.parametrize("text", ["", "[]", '{"orders": 1}'])
def test_a_file_of_another_kind_is_refused(micro, tmp_path, text) -> None:
    path, file = tmp_path / f"orders_{uuid4().hex}.py", tmp_path / "schemas.json"
    path.write_text(MODULE.format(topic=f"cli.{uuid4().hex}", type="int"))
    file.write_text(text)
    code, _, err = micro("topics", "check", str(path), "--against", str(file))

    assert code == 2
    assert f"file '{file}': " in err
