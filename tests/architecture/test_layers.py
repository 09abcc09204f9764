"""What import-linter cannot say about the layout: circles of single modules, and what is public."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from tests.architecture.source import ROOT, imports, modules

MAX_PUBLIC_MODULES = 14


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for link in imports(modules("micro", "micro_nats", "micro_sql")):
        if link.importer != link.imported:
            graph.setdefault(link.importer, set()).add(link.imported)
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]

    assert circle == []


def test_few_modules_stand_beside_the_folders() -> None:
    found = sorted(path.name for path in (ROOT / "micro").glob("*.py"))

    assert len(found) <= MAX_PUBLIC_MODULES, "put what is not public into a folder"
