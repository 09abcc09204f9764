"""The source as the architecture tests see it: modules, and who imports whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = (ROOT, ROOT / "plugins")
PACKAGES = ("micro", "micro_nats", "micro_sql")


@dataclass(frozen=True)
class Module:
    """One file of source."""

    name: str
    path: Path

    @property
    def place(self) -> str:
        """The path below the repository's root, as the lists of exceptions write it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Each call with the dotted name of what is called, as far as it has one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node


@dataclass(frozen=True)
class Import:
    """One module of ours imports another.

    Attributes:
        typing_only: It stands under `if TYPE_CHECKING:` and does not happen when the program runs.
    """

    importer: str
    imported: str
    typing_only: bool


def modules(*packages: str) -> dict[str, Module]:
    """All modules of the packages, by name."""
    found: dict[str, Module] = {}
    for root in SOURCE_ROOTS:
        for package in packages:
            for path in sorted((root / package).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[name] = Module(name, path)
    return found


def files_below(*folders: str) -> list[Module]:
    """All Python files below folders of the repository."""
    return [
        Module(path.stem, path)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def imports(known: dict[str, Module]) -> list[Import]:
    """Every import between known modules; `from package import module` is one of the module."""
    found: list[Import] = []
    for module in known.values():
        guarded = _guarded(module.tree)
        for node in ast.walk(module.tree):
            found.extend(
                Import(module.name, name, id(node) in guarded) for name in _imported(node, known)
            )
    return found


def _imported(node: ast.AST, known: dict[str, Module]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom) and node.module in known:
        for alias in node.names:
            below = f"{node.module}.{alias.name}"
            yield below if below in known else node.module


def _guarded(tree: ast.Module) -> set[int]:
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
