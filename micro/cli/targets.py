"""Targets of commands: files and modules, and the services, topics and contracts in them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from micro.errors import ConfigError, UsageError
from micro.service import Service
from micro.topic import Topic, kept_topic, kept_topics

__all__ = ["load_name", "load_services", "load_topics", "source_folder"]

_log = logging.getLogger("micro.cli")


def load_services(targets: Iterable[str]) -> list[Service]:
    """Import targets and collect their services, each once, in the order they were named.

    A target is a file's path, a dotted path to a module, or either with `:name` for one service of
    several.

    Raises:
        ConfigError: a target cannot be found or imported, or has no service; the text says where.
    """
    _find_modules_here()
    found: dict[int, Service] = {}
    for target in targets:
        place, name = _parts(target)
        module = _guard(target, place)
        found.update((id(service), service) for service in _services(target, module, name))
    return list(found.values())


def load_topics(targets: Iterable[str]) -> tuple[list[Topic[Any]], list[Service]]:
    """Import targets; returns the kept topics that they make or import, and their services.

    Raises:
        ConfigError: a target cannot be found or imported, or none of them has a kept topic.
        UsageError: a topic is kept in two different ways.
    """
    _find_modules_here()
    named = list(targets)
    # Topics are known while they live, so the modules are held until they are collected.
    modules = [_guard(target, _parts(target)[0]) for target in named]
    names = dict.fromkeys(topic.name for topic in kept_topics())
    found = [topic for name in names if (topic := kept_topic(name)) is not None]
    if not found:
        raise ConfigError(
            f"targets {', '.join(module.__name__ for module in modules)}: no kept topic;"
            " write Topic(..., keep='7d') at a module's top level"
        )
    values = [value for module in modules for value in vars(module).values()]
    return found, list({id(v): v for v in values if isinstance(v, Service)}.values())


def load_name(target: str) -> object:
    """Import what a target names: `module:name` or `path.py:name`.

    Raises:
        ConfigError: it cannot be found or imported; the text says where.
    """
    _find_modules_here()
    place, name = _parts(target)
    if not name:
        raise ConfigError(f"target {target!r}: write it as module:name, or path.py:name")
    module = _guard(target, place)
    try:
        found: object = getattr(module, name)
    except AttributeError:
        raise ConfigError(f"target {target!r}: the module has no {name!r}") from None
    return found


def source_folder(target: str) -> Path:
    """The folder to watch for changes of a target: its file's, or the present one."""
    place, _ = _parts(target)
    return Path(place).resolve().parent if _is_file(place) else Path.cwd()


def _find_modules_here() -> None:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _parts(target: str) -> tuple[str, str]:
    place, colon, name = target.rpartition(":")
    return (place, name) if colon and name.isidentifier() else (target, "")


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _guard(target: str, place: str) -> ModuleType:
    """Import a target; any error in it becomes one line that names the place."""
    try:
        return _import_file(target, Path(place)) if _is_file(place) else _import(target, place)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"target {target!r} needs the module {error.name!r}, which is not installed"
        ) from error
    except Exception as error:
        # The module is the user's own code and can raise anything.
        _log.debug("target %s failed", target, exc_info=True)
        raise ConfigError(f"target {target!r}: {_told(error)}") from error


def _import(target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise
        reason = "there is no such module"
    except (ValueError, TypeError):
        reason = "there is no such module"  # An empty or relative name.
    raise ConfigError(
        f"target {target!r}: {reason} from {os.getcwd()!r};"
        " name a file, a module, or either with :name"
    )


def _import_file(target: str, path: Path) -> ModuleType:
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise ConfigError(f"target {target!r}: {what}")
    folder, names = path.resolve().parent, [path.stem]
    # In a package it must be imported by its full name, or its relative imports fail.
    while (folder / "__init__.py").is_file():
        folder, names = folder.parent, [folder.name, *names]
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if len(names) > 1:
        return importlib.import_module(".".join(names))
    return _import_script(path.resolve())


def _import_script(path: Path) -> ModuleType:
    name = path.stem
    while (known := sys.modules.get(name)) is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None, "a file that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    # Annotations are resolved through here, while the module runs.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _services(target: str, module: ModuleType, name: str) -> list[Service]:
    services = {key: value for key, value in vars(module).items() if isinstance(value, Service)}
    names = ", ".join(services) or "none"
    if name and name not in services:
        raise ConfigError(f"target {target!r}: {name!r} is not a Service (found: {names})")
    if not services:
        raise ConfigError(f"target {target!r}: it has no Service at the module's top level")
    return [services[name]] if name else list(services.values())


def _told(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
