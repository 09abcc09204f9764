"""Builds Go programs against a generation of go-micro.

A program is written once, for the newest generation. The generations differ in the path of their
imports and in a few files: those in `go/shared` hold for all, and a file of the same name in a
generation's own folder replaces them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "FOLDER",
    "GENERATIONS",
    "GoBuildError",
    "GoUnavailable",
    "build_program",
    "go_build",
    "one_builder",
    "sources_for",
]

# v5 has the wire of v6, and its last version is to be had where v6 is not.
GENERATIONS = ("v6", "v5", "v4", "v2")
FOLDER = Path(__file__).parent / "go"
_CACHE = Path(__file__).parents[2] / ".cache" / "go"
_IMPORTS = {
    "v6": {},
    "v5": {"go-micro.dev/v6/": "go-micro.dev/v5/"},
    "v4": {"go-micro.dev/v6/": "go-micro.dev/v4/"},
    "v2": {
        "go-micro.dev/v6/selector": "github.com/micro/go-micro/v2/client/selector",
        "go-micro.dev/v6/": "github.com/micro/go-micro/v2/",
    },
}
_BUILD_SECONDS = 900
_FLAGS = "-mod=readonly -buildvcs=false"
_UNAVAILABLE = re.compile(r"@v[\w.+-]+: |module lookup disabled|requires go >= ")


class GoBuildError(Exception):
    """A program cannot be built; the text says why."""


class GoUnavailable(GoBuildError):
    """This machine lacks what the program is made of: Go, a newer Go, or a module."""


def _read(folder: Path) -> dict[str, str]:
    """The files below a folder by their paths there."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sources_for(generation: str, program: Path) -> dict[str, str]:
    """A program as a generation needs it."""
    written = {**_read(FOLDER / "shared"), **_read(program)}
    for new, old in _IMPORTS[generation].items():
        written = {name: text.replace(f'"{new}', f'"{old}') for name, text in written.items()}
    return {**written, **_read(FOLDER / generation)}


def build_program(name: str, sources: Mapping[str, str]) -> Path:
    """The binary made of these sources; built unless it was before.

    Raises:
        GoUnavailable: there is no Go, or a module cannot be downloaded.
        GoBuildError: the sources are wrong.
    """
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]
    folder = _CACHE / f"{name.replace(' ', '-')}-{digest}"
    binary = folder / "program"
    with one_builder():
        if not binary.exists():
            for path, text in sources.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text)
            part = folder / "program.part"
            go_build(name, folder, part)
            part.rename(binary)
    return binary


def go_build(name: str, folder: Path, binary: Path) -> None:
    """Build the program in a folder; Go builds again only what its cache lacks.

    Raises:
        GoUnavailable: there is no Go, or a module cannot be downloaded.
        GoBuildError: the sources are wrong.
    """
    if shutil.which("go") is None:
        raise GoUnavailable(f"{name} is not available here: there is no Go toolchain")
    done = subprocess.run(
        ["go", "build", "-o", str(binary), "."],
        cwd=folder,
        env={**os.environ, "GOFLAGS": _FLAGS},
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise _error(name, done.stderr)


def _error(name: str, output: str) -> GoBuildError:
    for line in output.splitlines():
        if _UNAVAILABLE.search(line):
            # Neither the place in the sources nor the address tells a reader anything.
            told = re.sub(r"^\S+\.go:\d+:\d+: ", "", line)
            told = re.sub(r"(reading|Get) \"?https?://\S+: ", "", told)
            return GoUnavailable(f"{name} is not available here: {told}")
    return GoBuildError(f"{name} cannot be built:\n{output}")


@contextmanager
def one_builder() -> Iterator[None]:
    """Wait for the lock of the one builder; the system releases it when a process dies."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
