"""The Go program of the guide is a service that the Python program beside it calls."""

from __future__ import annotations

import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from pathlib import Path

import pytest

from examples.shop_with_go.__main__ import SOURCE
from micro import load_settings, open_client
from micro_nats import run_server
from tests.docs.pages import GUIDE, ROOT, read_page
from tests.interop.gobuild import GoUnavailable, go_build
from tests.interop.peers import SHOP, GoPrograms

PAGE = GUIDE / "go-and-python.md"


@pytest.fixture
def program(go_programs: GoPrograms, tmp_path: Path) -> Path:
    """The page's program, built with the modules of the shop in Go."""
    try:
        go_programs.path(SHOP)
        [source] = re.findall(r"^```go\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        (tmp_path / "main.go").write_text(source)
        for name in ("go.mod", "go.sum"):
            shutil.copy(SOURCE / name, tmp_path)
        go_build("the guide's program", tmp_path, tmp_path / "program")
    except GoUnavailable as reason:
        pytest.skip(str(reason))
    return tmp_path / "program"


@pytest.mark.interop
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("interop")
async def test_the_python_program_calls_the_go_program(program: Path, tmp_path: Path) -> None:
    read_page(PAGE).write(tmp_path)
    async with run_server() as server:
        service = await create_subprocess_exec(program, server.address, stderr=DEVNULL)
        try:
            async with open_client(load_settings(["--nats-address", server.address], {})) as client:
                await registered(client)
            environ = {**os.environ, "MICRO_NATS_ADDRESS": server.address}
            environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
            caller = await create_subprocess_exec(
                *(sys.executable, tmp_path / "award_ann.py"), env=environ, stdout=PIPE, stderr=PIPE
            )
            printed = await caller.communicate()
        finally:
            service.kill()
            await service.wait()

    assert printed == (b"105\n", b"")


async def registered(client) -> None:
    async with client.registry.watch("points") as changes:
        async for records in changes:
            if any(record.nodes for record in records):
                return
