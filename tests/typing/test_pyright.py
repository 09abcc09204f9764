"""pyright knows the type of every public name, and accepts the examples and the guide strictly."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.docs.pages import GUIDE, ROOT, read_page
from tests.docs.test_site import PUBLIC_MODULES, home

pytest.importorskip("basedpyright")
pytestmark = [pytest.mark.xdist_group("pyright"), pytest.mark.timeout(300)]


def pyright(*arguments: object, cwd: Path, path: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "basedpyright", "--outputjson", *map(str, arguments)]
    environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment in which the package is installed as users have it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    ours, *_ = folder.glob("lib/python*/site-packages")
    for package in ("micro", "plugins/micro_nats", "plugins/micro_sql"):
        target = ours / Path(package).name
        shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
    developers = Path(pytest.__file__).parents[1]
    (ours / "dependencies.pth").write_text(f"{developers}\n")
    return folder


def test_every_public_name_has_a_known_type(installed: Path) -> None:
    _, report = pyright(
        "--verifytypes", "micro", "--ignoreexternal", cwd=installed, path=f"{installed}/bin"
    )
    completeness = report["typeCompleteness"]
    assert isinstance(completeness, dict)
    symbols = completeness["symbols"]
    unknown = [
        (symbol["name"], [each["message"] for each in symbol["diagnostics"]])
        for symbol in symbols
        if is_public(symbol) and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
    ]

    assert len([symbol for symbol in symbols if is_public(symbol)]) > 500
    assert unknown == [], "annotate these, as in `self.name: str = name`"


def public_names() -> frozenset[str]:
    modules = [importlib.import_module(name) for name in PUBLIC_MODULES]
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    return frozenset(
        names | {home(getattr(module, name)) for module in modules for name in module.__all__}
    )


PUBLIC = public_names()


def is_public(symbol: dict[str, object]) -> bool:
    """Whether it is a public name, or a member of a public class."""
    name = str(symbol["name"])
    return name in PUBLIC or name.rpartition(".")[0] in PUBLIC


def test_examples_and_snippets_of_the_guide_are_strictly_typed(tmp_path: Path) -> None:
    for page in map(read_page, GUIDE.glob("*.md")):
        page.write(tmp_path)
    settings = {
        "include": [str(tmp_path), str(ROOT / "examples"), str(ROOT / "tests/typing/api.py")],
        "extraPaths": [str(ROOT), str(ROOT / "plugins"), str(tmp_path)],
        "exclude": ["**/custom_plugin/tests"],
        "typeCheckingMode": "strict",
        "reportMissingTypeStubs": False,
    }
    (tmp_path / "strict.json").write_text(json.dumps(settings))
    _, report = pyright("-p", "strict.json", cwd=tmp_path, path=str(Path(sys.executable).parent))
    found = report["generalDiagnostics"]
    assert isinstance(found, list)

    wrong = [
        f"{each['file']}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in found
        if each["severity"] == "error"
    ]
    assert wrong == []
    assert report["summary"]["filesAnalyzed"] > 30  # type: ignore[index]  # JSON
