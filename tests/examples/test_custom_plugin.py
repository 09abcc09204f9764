from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.examples.programs import ROOT, run

PROJECT = ROOT / "examples" / "custom_plugin"
QUIET = ("--disable-pip-version-check", "--quiet", "--no-deps")
WHERE = "from micro.plugins import find_plugin as f; print(f('loopback').__module__)"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the plugin was installed from its wheel, as pip does it."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PROJECT, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    wheels = ("-m", "pip", "wheel", *QUIET, "--no-build-isolation", "--wheel-dir", "wheels")
    built = run(*wheels, "./source", cwd=folder)
    assert built.returncode == 0, built.stderr
    [wheel] = (folder / "wheels").glob("*.whl")
    target = folder / "target"
    done = run("-m", "pip", "install", *QUIET, "--target", str(target), str(wheel), cwd=folder)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.xdist_group("custom_plugin")
def test_it_is_found_by_its_name_alone(installed: Path) -> None:
    found = run("-c", WHERE, cwd=installed.parent, path=str(installed))
    missing = run("-c", WHERE, cwd=installed.parent)

    assert (found.stdout.strip(), found.stderr) == ("micro_loopback", "")
    assert "unknown plugin 'loopback'" in missing.stderr


@pytest.mark.xdist_group("custom_plugin")
def test_it_passes_the_conformance_suites(installed: Path) -> None:
    tests = ("-c", str(PROJECT / "pyproject.toml"), str(PROJECT / "tests"))
    plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = run(*plain, *tests, cwd=installed.parent, path=str(installed))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]


@pytest.mark.xdist_group("custom_plugin")
def test_a_program_runs_on_it_by_flags(installed: Path) -> None:
    flags = [f"--{part}=loopback" for part in ("transport", "broker", "registry")]
    done = run(
        str(ROOT / "examples" / "config_swap" / "service.py"),
        *flags,
        cwd=installed.parent,
        path=str(installed),
    )

    assert done.returncode == 0, done.stderr
    assert "calls by loopback, events by loopback" in done.stdout
    assert "Hello, Ann!" in done.stdout
