"""What the plugin may touch of nats-py: private names in one module, base classes nowhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import nats

from tests.architecture.source import Module, modules

PLACE = "micro_nats.connection.handshake"
PLUGINS = modules("micro_nats")


def private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def nats_private_names() -> set[str]:
    """Every private method and attribute that nats-py's own classes have."""
    found: set[str] = set()
    for path in Path(nats.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(name)
                case ast.Attribute(attr=name, value=ast.Name(id="self")):
                    found.add(name)
    return {name for name in found if private(name)}


def private_names_used(module: Module) -> Iterator[str]:
    """Private names that a module uses of objects other than `self`, by attribute or by text."""
    own = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls")
    }
    own |= {n.name for n in ast.walk(module.tree) if isinstance(n, ast.FunctionDef)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls") and node.attr not in own:
                yield node.attr
        elif isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            yield from (each.value for each in node.args if isinstance(each, ast.Constant))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nats"):
            yield from (alias.name for alias in node.names if private(alias.name))


def test_one_module_touches_private_names_of_nats_py() -> None:
    names = nats_private_names()
    users = {
        module.name for module in PLUGINS.values() if names.intersection(private_names_used(module))
    }

    assert users == {PLACE}


def test_no_class_derives_from_one_of_nats_py() -> None:
    derived = [
        f"{name}.{each.__name__}"
        for name in PLUGINS
        if "__main__" not in name
        for each in vars(import_module(name)).values()
        if isinstance(each, type) and each.__module__ == name
        for base in each.__mro__[1:]
        if base.__module__.partition(".")[0] == "nats"
    ]
    written = [
        f"{module.name}:{node.lineno}"
        for module in PLUGINS.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if ast.unparse(base).split("[")[0] in _names_of_nats_py(module)
    ]

    assert (derived, written) == ([], [])


def _names_of_nats_py(module: Module) -> set[str]:
    """What a module imports from nats-py, by the names it has there."""
    return {
        alias.asname or alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "nats"
        for alias in node.names
    }
