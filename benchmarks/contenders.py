"""Who takes part, and how its processes are started; or why it is absent."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.gobuild import GoBuildError, build_program, sources_for

__all__ = ["ROOT", "Absent", "Contender", "find"]

ROOT = Path(__file__).parents[1]
_CACHE = ROOT / ".cache" / "benchmarks"
_VENV = ROOT / ".venv-bench"
_PEERS = Path(__file__).parent / "peers"
_SECONDS = 600
_VERSIONS = (
    "import json, sys; from importlib.metadata import version;"
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


class Absent(Exception):
    """A peer cannot take part here; the text says why."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer that can be started: `command` and a role make a process.

    Attributes:
        name: What the table calls it.
        command: What comes before the role.
        versions: Of what it is made.
    """

    name: str
    command: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)


def find(name: str) -> Contender:
    """Make a peer ready to start, building or installing what it needs once.

    Raises:
        Absent: it cannot be had here.
    """
    return _FINDERS[name](name)


def _own(module: str, *packages: str) -> Callable[[str], Contender]:
    def make(name: str) -> Contender:
        return _python(name, sys.executable, module, packages)

    return make


def _foreign(module: str, *packages: str) -> Callable[[str], Contender]:
    def make(name: str) -> Contender:
        return _python(name, _environment(), module, packages)

    return make


def _python(name: str, python: str, module: str, packages: tuple[str, ...]) -> Contender:
    done = _run([python, "-c", _VERSIONS, *packages], ROOT)
    return Contender(name, (python, "-m", "benchmarks.peer", module), json.loads(done))


def _environment() -> str:
    """The Python of an environment with the other libraries: this one, or one made for them."""
    if all(importlib.util.find_spec(name) for name in ("faststream", "grpc")):
        return sys.executable
    python = _VENV / "bin" / "python"
    ready = _VENV / "ready"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["bench"]
    wanted = "\n".join(packages)
    if not (ready.is_file() and ready.read_text() == wanted):
        print(f"setting up {_VENV.name} ...", file=sys.stderr)
        _run([sys.executable, "-m", "venv", "--clear", str(_VENV)], ROOT)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, *packages], ROOT)
        (_VENV / ".gitignore").write_text("*\n")
        ready.write_text(wanted)
    return str(python)


def _go(name: str) -> Contender:
    """The newest generation of go-micro that can be built takes part."""
    go = shutil.which("go")
    if go is None:
        raise Absent("no Go toolchain here")
    failures = []
    for generation in ("v6", "v5", "v4"):
        sources = sources_for(generation, _PEERS / "go_micro")
        try:
            binary = build_program(f"go-micro {generation} for the benchmarks", sources)
        except GoBuildError as error:
            failures.append(str(error))
            continue
        versions = {"go": _run([go, "env", "GOVERSION"], binary.parent).removeprefix("go")}
        for line in sources["go.mod"].splitlines():
            if line.strip().startswith("go-micro.dev/"):
                versions["go-micro"] = line.split()[1].removeprefix("v")
        return Contender(name, (str(binary),), versions)
    raise Absent("; ".join(failures))


def _node(name: str) -> Contender:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Absent("no Node.js here")
    source = _PEERS / "moleculer"
    folder = _CACHE / "moleculer"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("package.json", "peer.js"):
        shutil.copyfile(source / part, folder / part)
    wanted = (folder / "package.json").read_text()
    ready = folder / "ready"
    if not (ready.is_file() and ready.read_text() == wanted):
        print("installing Moleculer ...", file=sys.stderr)
        _run([npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"], folder)
        ready.write_text(wanted)
    versions = {"node": _run([node, "--version"], folder).lstrip("v")}
    versions |= json.loads(wanted)["dependencies"]
    return Contender(name, (node, str(folder / "peer.js")), versions)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{os.path.basename(command[0])}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        raise Absent(f"{os.path.basename(command[0])} failed: {lines[-1]}")
    return done.stdout.strip()


_FINDERS: dict[str, Callable[[str], Contender]] = {
    "micro": _own("ours", "nats-py", "pydantic", "uvloop"),
    "nats-py": _own("bare_nats", "nats-py"),
    "nats.micro": _own("nats_micro", "nats-py", "pydantic"),
    "FastStream": _foreign("faststream_peer", "faststream", "nats-py", "pydantic"),
    "grpc.aio": _foreign("grpc_peer", "grpcio", "protobuf"),
    "go-micro": _go,
    "Moleculer": _node,
}
