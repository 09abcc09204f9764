"""Rules of the style that a linter cannot know. Each list of exceptions gives its reasons."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.architecture.source import PACKAGES, Module, files_below, modules

MOST_LINES = 400

# Files that are over the bound, with what they may have until they are split; never raise one.
TOO_LONG: dict[str, int] = {}

# Files that make tasks outside a scope, each with its reason.
TASKS_ELSEWHERE: dict[str, str] = {}

SLEEPS: dict[str, str] = {
    "micro/testing/networks/activity.py": "looks at threads and sleepers, which tell no one",
    "micro/testing/networks/faults.py": "has a call wait as long as the test asked for",
    "micro/testing/leaks.py": "gives the network a moment to close, within a bound",
    "tests/faults/clock.py": "lets faults last, and looks at what tells no one, within a bound",
    "tests/faults/programs/points.py": "has handlers that take their time",
    "tests/system/programs/lifecycle.py": "has hooks and handlers that take their time",
    "tests/interop/greeter.py": "a handler that is slow because its caller asks for it",
    "tests/plugins/micro_nats/helpers.py": "looks at what tells no one, within a bound",
    "tests/registry/test_memory.py": "has the event loop stand still, which is what is tested",
}

SOURCE = list(modules(*PACKAGES).values())
TESTS = [*files_below("tests"), *files_below("micro/testing")]


def ids(module: Module) -> str:
    return module.place


@pytest.mark.parametrize("module", SOURCE, ids=ids)
def test_a_module_has_a_docstring_and_modern_annotations(module: Module) -> None:
    assert ast.get_docstring(module.tree)
    if not module.is_package:
        assert "\nfrom __future__ import annotations\n" in module.text


def test_modules_are_short() -> None:
    lines = {module.place: len(module.text.splitlines()) for module in SOURCE}
    long = {place: count for place, count in lines.items() if count > MOST_LINES}

    assert {p: n for p, n in long.items() if n > TOO_LONG.get(p, 0)} == {}
    assert TOO_LONG.keys() <= long.keys(), "an exception that is no longer needed"


def test_tasks_are_made_in_scopes_only() -> None:
    makers = ("create_task", "ensure_future", "run_coroutine_threadsafe", "asyncio.Task")
    found = {
        module.place
        for module in SOURCE
        for name, _ in module.calls()
        if name == "Task" or name.endswith(makers)
    }

    assert found - TASKS_ELSEWHERE.keys() == {"micro/scope.py"}


def test_tests_wait_for_things_and_do_not_sleep() -> None:
    found = {
        module.place
        for module in TESTS
        for name, call in module.calls()
        if name in ("asyncio.sleep", "time.sleep", "sleep") and not _is_a_mere_turn(name, call)
    }

    assert found - SLEEPS.keys() == set()


def test_no_import_is_relative() -> None:
    found = [
        f"{module.place}:{node.lineno}"
        for module in [*SOURCE, *TESTS]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert found == []


def test_importing_has_no_effects() -> None:
    names = [n for n in modules(*PACKAGES) if "conformance" not in n and "__main__" not in n]
    program = f"""
import asyncio, logging, os, signal, sys, threading
sys.path[:0] = {[".", "plugins"]!r}
sys.dont_write_bytecode = True
environment, signals = dict(os.environ), [signal.getsignal(n) for n in (2, 15)]
for name in {names!r}:
    __import__(name)
ours = [l for n, l in logging.root.manager.loggerDict.items() if n.startswith("micro")]
assert threading.active_count() == 1, threading.enumerate()
assert not logging.root.handlers
assert not any(getattr(logger, "handlers", None) for logger in ours)
assert dict(os.environ) == environment
assert [signal.getsignal(n) for n in (2, 15)] == signals
assert asyncio._get_running_loop() is None
assert "pytest" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


def _is_a_mere_turn(name: str, call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return name != "time.sleep" and isinstance(first, ast.Constant) and first.value == 0
