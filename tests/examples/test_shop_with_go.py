from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.gobuild import GoUnavailable
from tests.interop.peers import SHOP, GoPrograms

ROOT = Path(__file__).parents[2]


@pytest.mark.interop
@pytest.mark.xdist_group("interop")
def test_the_shop_runs_with_either_service_in_go(go_programs: GoPrograms) -> None:
    try:
        go_programs.path(SHOP)
    except GoUnavailable as reason:
        pytest.skip(str(reason))

    done = subprocess.run(
        [sys.executable, "-m", "examples.shop_with_go"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("20 orders accepted, points awarded 20 times") == 2
