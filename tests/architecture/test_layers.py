"""Imports point down, only down, and never in a circle."""

from __future__ import annotations

from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter

from tests.architecture.source import imports, modules

# From the top; a module may import from its own layer and from those below it. A new module has to
# be put here: where it belongs is a decision. `*` stands for any text.
LAYERS: dict[str, tuple[str, ...]] = {
    "surface": (
        "micro",
        "micro.cli",
        "micro.cli.*",
        "micro.testing",
        "micro.testing.*",
    ),
    "application": (
        "micro.health",
        "micro.life",
        "micro.logs",
        "micro.plugins",
        "micro.runner",
        "micro.service",
        "micro.settings",
        "micro.settings_*",
        "micro.watchdog",
    ),
    "engine": (
        "micro.breaker",
        "micro.call",
        "micro.caller",
        "micro.client",
        "micro.client_*",
        "micro.compression",
        "micro.connection",
        "micro.directory",
        "micro.gate",
        "micro.lag",
        "micro.middleware",
        "micro.pieces",
        "micro.plan",
        "micro.proxy",
        "micro.publisher",
        "micro.retry",
        "micro.route",
        "micro.selector",
        "micro.server",
        "micro.server_*",
        "micro.session",
        "micro.stream",
        "micro.stream_call",
        "micro.subscriber",
        "micro.threads",
        "micro.tracing",
    ),
    "adapters": (
        "micro.broker.memory",
        "micro.codec",
        "micro.codec._types",
        "micro.codec.codecs",
        "micro.codec.json",
        "micro.codec.msgpack",
        "micro.codec.protobuf",
        "micro.codec.raw",
        "micro.memory",
        "micro.registry.memory",
        "micro.transport.memory",
    ),
    "pure": (
        "micro.endpoint",
        "micro.legacy",
        "micro.protocol",
        "micro.schema",
        "micro.signature",
    ),
    "contracts": (
        "micro.backend",
        "micro.broker",
        "micro.broker.contract",
        "micro.codec.contract",
        "micro.registry",
        "micro.registry.contract",
        "micro.registry.record",
        "micro.transport",
        "micro.transport.contract",
    ),
    "values": (
        "micro.context",
        "micro.deadline",
        "micro.errors",
        "micro.message",
        "micro.names",
        "micro.scope",
        "micro.timers",
    ),
}

# The engine knows contracts and never who fulfils them, though that lies below it; of codecs it
# knows the table of those there are.
ADAPTERS_HIDDEN_FROM_THE_ENGINE = ("micro.memory", "micro.*.memory", "micro.codec.[!c]*")
OPEN_TO_PLUGINS = ("contracts", "values")


def layers_of(module: str) -> list[str]:
    """The layers whose patterns fit the module; to be one."""
    return [layer for layer, patterns in LAYERS.items() if _matches(module, patterns)]


def test_every_module_is_in_one_layer() -> None:
    misplaced = {name: layers_of(name) for name in modules("micro") if len(layers_of(name)) != 1}

    assert not misplaced, f"put each into one layer of {__name__}.LAYERS"


def test_the_table_names_nothing_that_is_gone() -> None:
    names = list(modules("micro"))
    patterns = [pattern for layer in LAYERS.values() for pattern in layer]

    assert [p for p in patterns if not any(fnmatchcase(name, p) for name in names)] == []


def test_imports_point_down() -> None:
    upwards = [
        f"{link.importer} imports {link.imported}"
        for link in imports(modules("micro"))
        if _depth(link.importer) > _depth(link.imported)
    ]

    assert upwards == []


def test_the_engine_knows_no_adapter() -> None:
    wrong = [
        f"{link.importer} imports {link.imported}"
        for link in imports(modules("micro"))
        if layers_of(link.importer) == ["engine"]
        and _matches(link.imported, ADAPTERS_HIDDEN_FROM_THE_ENGINE)
    ]

    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for link in imports(modules("micro", "micro_nats")):
        # Two modules that name each other's types only are one thought in two files.
        if not link.typing_only and link.importer != link.imported:
            graph.setdefault(link.importer, set()).add(link.imported)
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]

    assert circle == []


def test_plugins_import_contracts_and_values_only() -> None:
    known = modules("micro", "micro_nats")
    wrong = [
        f"{link.importer} imports {link.imported}"
        for link in imports(known)
        if link.importer.startswith("micro_nats")
        and not link.imported.startswith("micro_nats")
        and not set(layers_of(link.imported)) & set(OPEN_TO_PLUGINS)
    ]

    assert wrong == []


def test_the_core_knows_no_plugin() -> None:
    known = modules("micro", "micro_nats")
    wrong = [
        f"{link.importer} imports {link.imported}"
        for link in imports(known)
        if not link.importer.startswith("micro_nats") and link.imported.startswith("micro_nats")
    ]

    assert wrong == []


def _depth(module: str) -> int:
    """How far down it is; what is in no layer is at the bottom, with no right to import."""
    return max(
        (place for place, name in enumerate(LAYERS) if name in layers_of(module)), default=99
    )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
