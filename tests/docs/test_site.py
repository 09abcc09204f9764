"""The site builds without a warning, and its API reference has every public name."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PUBLIC_MODULES = (
    "micro",
    "micro.backend",
    "micro.broker",
    "micro.cli.extension",
    "micro.codec",
    "micro.errors",
    "micro.message",
    "micro.names",
    "micro.plugins",
    "micro.registry",
    "micro.scope",
    "micro.sync",
    "micro.testing",
    "micro.transport",
    "micro_nats",
    "micro_sql",
)
ANCHOR = re.compile(r'\bid="([\w.]+)"')

pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Zensical builds below its configuration's folder, so that is a copy."""
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("micro", "plugins"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "zensical.toml").write_bytes((ROOT / "zensical.toml").read_bytes())
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / ".cache" / "site"


def test_every_public_name_is_in_the_api_reference(site: Path) -> None:
    anchors: set[str] = set()
    for page in (site / "reference").glob("*.html"):
        anchors |= set(ANCHOR.findall(page.read_text()))
    missing = [
        f"{module.__name__}.{name}"
        for module in map(importlib.import_module, PUBLIC_MODULES)
        for name in module.__all__
        if not anchors & {f"{module.__name__}.{name}", home(getattr(module, name))}
    ]

    assert missing == []


def home(value: object) -> str:
    """Where a class or function is defined; a module may hide the name that its package exports."""
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def test_every_page_of_the_docs_is_in_the_navigation() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    named = set(re.findall(r"[\w/-]+\.md", str(navigation)))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}

    assert pages == named, "list each page under `nav` in zensical.toml"
