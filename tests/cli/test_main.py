"""The command line as such: help, flags, and exit codes."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest

from micro.cli import _micro, main
from micro.cli.group import _COMMANDS
from micro.cli.output import exit_code, table
from micro.errors import (
    BadRequest,
    ConfigError,
    DeadlineExceeded,
    InternalError,
    InvalidName,
    NoResponders,
    NotFound,
    Unavailable,
)

MEMORY = ("--transport=memory", "--broker=memory", "--registry=memory")


def test_help_lists_every_command_and_exit_code(micro) -> None:
    code, out, _ = micro("--help")

    assert code == 0
    assert [name for name in _COMMANDS if f"  {name} " not in out] == []
    assert "130" in out


def test_no_arguments_print_the_help(micro) -> None:
    assert micro() == micro("--help")


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_help(name, micro) -> None:
    code, out, _ = micro(name, "--help")

    assert code == 0
    assert out.startswith(f"Usage: micro {name} [OPTIONS]")


def test_help_of_run_lists_the_settings(micro) -> None:
    assert "--client-request-timeout DURATION" in micro("run", "--help")[1]


OWN_SETTINGS = """
from pydantic import BaseModel, Field
from micro import Service

class PointsSettings(BaseModel):
    start: int = Field(default=7, description="points of a new user")
    api_key: str = "secret"
    dsn: str

service = Service("points")
service.config(PointsSettings)
"""


def test_help_of_run_lists_the_settings_of_its_targets(micro, tmp_path) -> None:
    (tmp_path / "own_points.py").write_text(OWN_SETTINGS)
    out = micro("run", "--workers", "2", str(tmp_path / "own_points.py"), "--help")[1]

    assert "--points-start INTEGER\n      points of a new user (default 7)\n" in out
    assert "--points-dsn TEXT\n      (required)\n" in out
    assert "secret" not in out


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from micro.cli import main; main(['--help']);"
        "sys.exit('micro.cli.run' in sys.modules or 'nats' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["cal"], ["'cal'", "did you mean 'call'?"]),
        (["zzz"], ["'zzz'", "there are run, call"]),
        (["call", "a", "A.B", "--transprot", "x"], ["--transprot", "did you mean --transport?"]),
        (["call", "a", "A.B", "-x"], ["flag -x"]),
        (["call", "a", "A.B", "--timeout"], ["flag --timeout: it needs a value, DURATION"]),
        (["call"], ["SERVICE"]),
        (["call", "a", "A.B", "--timeot", "2"], ["--timeot", "--timeout"]),
        (["call", "a", "A.B", "--timeout", "x"], ["--timeout", "duration", "'x'"]),
        (["call", "a", "A.B", "{"], ["not JSON", "'{'"]),
        (["call", "a", "A.B", "@/no/file"], ["/no/file", "No such file"]),
        (["call", "a", "A.B", "-H", "x", *MEMORY], ["header 'x'", "NAME:VALUE"]),
        (["call", "a b", "A.B", *MEMORY], ["service name 'a b'"]),
        (["services", "--transport", "kafka"], ["transport: unknown plugin 'kafka'", "memory"]),
        (["services", "--client-retries", "x"], ["flag --client-retries", "'x'"]),
        (["services", "--config", "/no/file"], ["/no/file"]),
        (["publish", "a.*", *MEMORY], ["topic 'a.*'", "wildcards"]),
        (["subscribe", "a..b", *MEMORY], ["topic 'a..b'"]),
        (["subscribe", "a", "--count", "0"], ["--count"]),
        (["run"], ["TARGET"]),
        (["run", "x", "--workers", "0"], ["--workers"]),
        (["run", "no.such.module", *MEMORY], ["no.such.module"]),
        (["run", "x", "--workers", "2", "--server-id", "1"], ["server_id"]),
    ],
)
def test_bad_input_gets_one_line_and_code_2(argv, parts, micro) -> None:
    code, out, err = micro(*argv)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert [part for part in parts if part not in err] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["call", "a", "A.B", "{}", "hunter2"],
        ["call", "a", "A.B", "--pasword=hunter2"],
        ["services", "--pasword", "hunter2"],
        ["publish", "a", "{}", "--nats-password", "my", "hunter2"],
    ],
)
def test_stray_words_and_values_of_unknown_flags_are_not_shown(argv, micro) -> None:
    code, out, err = micro(*argv)

    assert code == 2
    assert "hunter2" not in out + err


@pytest.mark.parametrize("command", ["call", "stream"])
def test_timeout_bounds_the_connection_too(command, micro) -> None:
    started = time.monotonic()

    code, _, err = micro(command, "a", "A.B", "--timeout=300ms", "--transport-address=127.0.0.1:1")

    assert code == 3
    assert "within 0.3 s" in err
    assert time.monotonic() - started < 3.0


def test_no_server_is_code_3_within_the_connect_timeout(micro) -> None:
    code, _, err = micro("services", "--registry-address=127.0.0.1:1", "--connect-timeout=300ms")

    assert code == 3
    assert err.startswith("503 Service Unavailable: ")
    assert "within 0.3 s" in err
    assert "micro server" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), 1),
        (BadRequest(), 1),
        (InternalError(), 1),
        (ConfigError(), 2),
        (InvalidName(), 2),
        (Unavailable(), 3),
        (NoResponders(), 3),
        (DeadlineExceeded(), 4),
    ],
)
def test_errors_have_exit_codes(error, code) -> None:
    assert exit_code(error) == code


def test_ctrl_c_is_code_130(monkeypatch, micro) -> None:
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_micro, "main", interrupted)

    assert micro("services")[0] == 130


def test_a_flag_without_its_value_is_refused(micro) -> None:
    code, _, err = micro("services", "--transport")

    assert code == 2
    assert "flag --transport: it needs a value" in err


def test_tables_are_aligned_and_bold_on_a_terminal(monkeypatch) -> None:
    assert table(("A", "B"), [("long", "x")]) == "A     B\nlong  x"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    assert table(("A",), []) == click.style("A", bold=True)


def test_version_and_help_have_the_usual_flags(micro) -> None:
    assert micro("--version")[1].startswith("micro-rpc 0.")
    assert micro("-h") == micro("--help")
    assert micro("call", "-h") == micro("call", "--help")


def test_version_names_the_plugins(micro) -> None:
    assert "micro-rpc 0." in micro("version")[1]
    assert '"name": "memory"' in micro("version", "--json")[1]


def test_health_of_the_memory_plugins_succeeds(micro) -> None:
    code, out, _ = micro("health", *MEMORY)

    assert code == 0
    assert out.startswith("transport memory, broker memory, registry memory, round_trip_ms ")


def test_the_module_can_be_run() -> None:
    assert main(["version"]) == 0
    subprocess.run([sys.executable, "-m", "micro.cli", "version"], check=True, capture_output=True)
