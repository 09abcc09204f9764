"""The README's own commands, typed in an empty environment outside of the repository."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from micro_nats.devserver import NatsServer
from tests.docs.pages import ROOT, Session, read_page
from tests.docs.test_docs import BLOCK
from tests.docs.test_guide_sessions import pattern, timer

README = read_page(ROOT / "README.md")
UNREACHABLE = re.compile(r"dns error|failed to connect|connection (error|refused)|timed out", re.I)
INSTALL_SECONDS = 120.0
FIRST_ANSWER_SECONDS = 60.0

pytestmark = [pytest.mark.xdist_group("wheel"), pytest.mark.timeout(240)]


@pytest.fixture
def address() -> Iterator[str]:
    """A server's address if NATS's own port is taken; empty where the README's own way is free."""
    try:
        socket.create_connection(("127.0.0.1", 4222), timeout=1).close()
    except OSError:
        yield ""
        return
    server = NatsServer()
    server.start()
    asyncio.run(server.wait())
    yield server.address
    server.stop()


@pytest.fixture
def environ(address: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which an empty virtual environment is active."""
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    ours = ("MICRO_", "PYTEST_", "PYTHON")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    if address:
        environ["MICRO_NATS_ADDRESS"] = address
    return {**environ, "PATH": f"{venv}/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(venv)}


def install(command: str, environ: dict[str, str], folder: Path) -> None:
    """Do what `pip install` says, with the wheel of this tree in place of the published one."""
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    [wheel] = folder.glob("*.whl")
    words = [f"{wheel}[server]" if "micro-rpc" in word else word for word in command.split()]
    uv = shutil.which("uv")
    tool = [uv, *words] if uv else [sys.executable, "-m", "pip", "--python", *words[1:]]
    if not uv:
        tool.insert(4, f"{environ['VIRTUAL_ENV']}/bin/python")
    done = subprocess.run(
        tool, env=environ, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr


def test_the_first_call_is_answered_by_the_words_of_the_readme(
    environ: dict[str, str], tmp_path: Path, record_property
) -> None:
    pip, run, *calls = README.sessions
    install(pip.command, environ, tmp_path)
    (tmp_path / "hello.py").write_text(BLOCK.findall((ROOT / "README.md").read_text())[0])
    began = time.monotonic()
    service = subprocess.Popen(
        run.command.split(), cwd=tmp_path, env=environ, text=True, stderr=subprocess.PIPE
    )
    try:
        wait_for(service, run.output.splitlines()[-1])
        call = next(each for each in calls if each.command.startswith("micro call hello"))
        assert type_(call, environ, tmp_path) == call.output.strip()
        record_property("seconds", took := time.monotonic() - began)
        for each in calls:
            answer = type_(each, environ, tmp_path)
            assert re.fullmatch(pattern(each.output), f"{answer}\n"), answer
        service.send_signal(signal.SIGINT)
        assert service.wait(20) == 0
    finally:
        service.kill()
        service.communicate()
    assert took < FIRST_ANSWER_SECONDS


def wait_for(service: subprocess.Popen[str], ready: str) -> None:
    """Read a service's log until it has said a line."""
    assert service.stderr is not None
    log = ""
    with timer(60, service.kill):
        for line in service.stderr:
            log += line
            if re.fullmatch(pattern(f"{ready}\n"), line):
                return
    raise AssertionError(log)


def type_(session: Session, environ: dict[str, str], folder: Path) -> str:
    """Run a command in the shell; what it prints."""
    done = subprocess.run(
        session.command,
        shell=True,
        cwd=folder,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return done.stdout.strip()
