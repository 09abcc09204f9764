"""Builds Go programs against a generation of go-micro.

A program is written once, for the newest generation: the generations differ in the path of their
imports, and in the few files of each one's own folder, which say what modules it is made of and
how its parts are put together.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FOLDER", "GENERATIONS", "GoBuildError", "build_program", "sources_for"]

GENERATIONS = ("v6", "v4", "v2")
FOLDER = Path(__file__).parent / "go"
_CACHE = Path(__file__).parents[2] / ".cache" / "go"
_IMPORTS = {
    "v6": "go-micro.dev/v6/",
    "v4": "go-micro.dev/v4/",
    "v2": "github.com/micro/go-micro/v2/",
}
_BUILD_SECONDS = 400
_FLAGS = "-mod=readonly -buildvcs=false"


class GoBuildError(Exception):
    """A program cannot be built here; the text says why."""


def _read(folder: Path) -> dict[str, str]:
    """The files below a folder by their paths there."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sources_for(generation: str, program: Path) -> dict[str, str]:
    """A program as a generation needs it."""
    new, old = _IMPORTS[GENERATIONS[0]], _IMPORTS[generation]
    changed = {name: text.replace(f'"{new}', f'"{old}') for name, text in _read(program).items()}
    return {**changed, **_read(FOLDER / generation)}


def build_program(name: str, sources: Mapping[str, str]) -> Path:
    """The binary made of these sources; built unless it was before.

    Raises:
        GoBuildError: there is no Go, or it says no.
    """
    if shutil.which("go") is None:
        raise GoBuildError("no Go toolchain here")
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]
    folder = _CACHE / f"{name}-{digest}"
    binary = folder / "program"
    if binary.exists():
        return binary
    for path, text in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    part = folder / f"program.{os.getpid()}"
    done = subprocess.run(
        ["go", "build", "-o", part, "."],
        cwd=folder,
        env={**os.environ, "GOFLAGS": _FLAGS},
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        raise GoBuildError(f"{name} cannot be built here ({lines[0].partition(' (')[0]})")
    part.rename(binary)
    return binary
