"""The terminal sessions in the guide: each command is typed, and answers what the page shows."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from micro.cli import main
from micro_nats.devserver import NatsServer
from tests.docs.pages import GUIDE, Page, Session, read_page

PAGES = [page for page in map(read_page, sorted(GUIDE.glob("*.md"))) if page.sessions]
CLOCK = re.compile(r"\d\d:\d\d:\d\d\\\.\d{3}")
# Versions, times and random ids, as `re.escape` writes them.
VARIES = re.compile(
    r"Python\\ [\d\\.]+|Linux$|(?<=round_trip_ms\\ )[\d\\.]+"
    r"|(?<=points\\-)f846[\w\\-]+|(?<=INBOX\\.)Tlx9k"
)

pytestmark = [pytest.mark.xdist_group("guide"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def nats() -> Iterator[str]:
    server = NatsServer()
    server.start()
    asyncio.run(server.wait())
    try:
        yield server.address
    finally:
        server.stop()


class Terminal:
    """A shell in a page's folder, and the services that it has started."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.started: list[subprocess.Popen[str]] = []

    def type(self, session: Session) -> None:
        """Run a command and compare what it prints; a service goes on in the background."""
        if session.command.startswith("micro run "):
            self._serve(session)
            return
        words = shlex.split(session.command)
        here = words[0] == "micro" and "|" not in words
        printed = self._micro(words[1:]) if here else _shell(session.command)
        assert re.fullmatch(pattern(session.output), f"{printed.strip()}\n"), printed

    def _micro(self, words: list[str]) -> str:
        """The command in this process, which saves the start of another."""
        main(words)
        return "".join(self.capture.readouterr())

    def _serve(self, session: Session) -> None:
        *_, ready = session.output.splitlines()
        process = subprocess.Popen(
            session.command.split(),
            cwd=self.folder,
            text=True,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        assert process.stderr is not None
        log = ""
        with timer(60, process.kill):
            for line in process.stderr:
                log += line
                if re.fullmatch(pattern(f"{ready}\n"), line):
                    return
        raise AssertionError(log)

    def close(self) -> None:
        """Stop the services that run."""
        for process in self.started:
            process.send_signal(signal.SIGINT)
        for process in self.started:
            process.communicate(timeout=20)


@contextmanager
def timer(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Act when the block takes longer."""
    thread = threading.Timer(seconds, act)
    thread.start()
    try:
        yield
    finally:
        thread.cancel()


@pytest.fixture
def terminal(
    nats: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Terminal]:
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MICRO_NATS_ADDRESS", nats)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    root, ours = logging.getLogger(), logging.getLogger("micro")
    handlers, level, our_level = [*root.handlers], root.level, ours.level
    modules = set(sys.modules)
    terminal = Terminal(tmp_path, capsys)
    try:
        yield terminal
    finally:
        terminal.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(our_level)
        for name in set(sys.modules) - modules:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


def _shell(command: str) -> str:
    done = subprocess.run(
        command,
        shell=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_a_page_answers_what_it_shows(page: Page, terminal: Terminal) -> None:
    page.write(terminal.folder)
    for session in page.sessions:
        terminal.type(session)

    assert [process.poll() for process in terminal.started] == [None for _ in terminal.started]


def pattern(output: str) -> str:
    """Lines as a page shows them: `...` stands for anything, and times and versions vary."""
    return "".join(map(_line, output.splitlines())) or r"\n"


def _line(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*?"
    text = re.escape(line).replace(r"\.\.\.", ".*")
    text = VARIES.sub(".*", CLOCK.sub(".*", text))
    return re.sub(r"(?:\\ )+", " +", text) + r" *\n"
