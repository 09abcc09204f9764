from __future__ import annotations

import pytest

from tests.examples.programs import ROOT, run

EXPECTED = {
    "streaming": ("count: 3", "add: 10", "double: 30 -> 60", "double: 0 answers left"),
    "pubsub": (
        *(f"shop-{shop} counts order {order}" for shop in (1, 2) for order in range(1, 5)),
        "audit notes orders.cancelled of order 2",
        "audit archives orders.eu.created",
        "all handled",
    ),
    "middleware": (
        "THE FRONT DOOR IS OPEN",
        "the front door was closed",
        "client | Vault.Unlock took",
        "server | Vault.Unlock took",
        "subscriber | doors.closed took",
        "the stranger is told: 401 who are you?",
    ),
    "calling": (
        "tea 480, cake 350",
        "with errors in place: ['480', '404 no unicorn is sold']",
        "in EUR",
        "total 830",
    ),
    "contracts": ("tea costs 480", "sold here: ['tea', 'cake']", "refused: True"),
    "topics": (
        "mail to ann: order 1 has arrived",
        "mail to bob: order 2 has arrived",
        "seen: order 2 of bob",
    ),
    "typed_proxy": ("ann has 42 points", "40 for a teapot", "2 for a cake"),
    "errors_and_deadlines": (
        "two teas: 960",
        "NotFound: code 404, from shop: we do not sell 'unicorn'",
        "BadRequest: quantity:",
        "refused, so it did not run: True",
        "with a fallback: -1",
        "the warehouse stops looking for tea",
        "DeadlineExceeded: code 408",
    ),
    "dependencies": (
        "in the background: ann has 100",
        "left: 70",
        "refused: a balance cannot be negative",
        "left: 69",
        "left in the fake: 5",
    ),
    "testing": ("4 passed",),
}
"""What each example that ends by itself says, among other things."""
LOGGED = {"errors_and_deadlines": ("the deadline passed after", "no answer in time")}
"""What the framework logs of it on standard error, line by line."""

ENDLESS = {"hello", "__init__"}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_and_says_what_it_shows(name: str) -> None:
    done = run("-W", "error", f"examples/{name}.py")

    assert done.returncode == 0, done.stderr
    logged = LOGGED.get(name, ())
    lines = done.stderr.splitlines()
    assert [line for line in lines if not any(text in line for text in logged)] == []
    assert [text for text in logged if text not in done.stderr] == []
    assert [text for text in EXPECTED[name] if text not in done.stdout] == []


def test_of_all_instances_one_packs_each_order_and_no_pattern_takes_too_much() -> None:
    lines = run("examples/pubsub.py").stdout.splitlines()
    packed = sorted(line.rpartition(" ")[2] for line in lines if " packs " in line)

    assert packed == ["1", "2", "3", "4"]
    assert not [line for line in lines if line.startswith("audit notes orders.eu")]
    assert len([line for line in lines if " counts " in line]) == 8


def test_no_example_is_left_out() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}

    assert names == set(EXPECTED) | ENDLESS


def test_the_smallest_service_takes_a_dozen_lines() -> None:
    lines = (ROOT / "examples" / "hello.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 12
