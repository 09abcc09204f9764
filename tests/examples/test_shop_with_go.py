from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.interop
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("go") is None, reason="no Go toolchain here")
@pytest.mark.xdist_group("interop")
def test_the_shop_runs_with_either_service_in_go() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.shop_with_go"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("20 orders accepted, points awarded 20 times") == 2
