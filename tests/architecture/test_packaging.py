"""What users install, and the lock of what developers install."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PUBLIC_INDEX = "https://pypi.org/simple"
PUBLIC_FILES = "https://files.pythonhosted.org/"
REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?([^;]*)")


def asked(requirements: list[str | dict[str, str]]) -> set[tuple[str, str]]:
    """Names and versions, those of included groups too."""
    named: list[str] = []
    for each in requirements:
        named += [each] if isinstance(each, str) else GROUPS[each["include-group"]]
    found = (REQUIREMENT.match(text) for text in named)
    return {(m[1].lower().replace(".", "-"), m[2].strip()) for m in found if m}


def locked(requirements: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(each["name"], each.get("specifier", "")) for each in requirements}


def test_the_lock_names_the_public_index_only() -> None:
    files = [
        file["url"]
        for package in LOCK["package"]
        for file in [
            *package.get("wheels", []),
            *([package["sdist"]] if "sdist" in package else []),
        ]
    ]
    registries = {package["source"].get("registry") for package in LOCK["package"]}

    assert registries == {PUBLIC_INDEX, None}
    assert [url for url in files if not url.startswith(PUBLIC_FILES)] == []


def test_the_lock_was_written_after_the_last_change_of_dependencies() -> None:
    [own] = [each for each in LOCK["package"] if each["name"] == PROJECT["project"]["name"]]
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = asked([*PROJECT["project"]["dependencies"], *(one for each in extras for one in each)])

    assert locked(own["metadata"]["requires-dist"]) == wanted, "run `make lock`"
    for name, group in GROUPS.items():
        assert locked(own["metadata"]["requires-dev"][name]) == asked(group), "run `make lock`"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


def metadata(wheel: Path, name: str = "METADATA") -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [path] = [each for each in archive.namelist() if each.endswith(f".dist-info/{name}")]
        return message_from_bytes(archive.read(path))


@pytest.mark.xdist_group("wheel")
def test_the_wheel_offers_users_no_extras_of_developers(wheel: Path) -> None:
    extras = set(metadata(wheel).get_all("Provides-Extra", []))

    assert "server" in extras
    assert extras & {"dev", "bench", "test"} == set()


@pytest.mark.xdist_group("wheel")
def test_the_wheel_has_all_packages_with_their_types_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    roots = {name.partition("/")[0] for name in names if ".dist-info/" not in name}

    assert roots == {"micro", "micro_nats", "micro_pytest", "micro_sql"}
    assert {f"{root}/py.typed" for root in roots} <= names
    assert metadata(wheel).get_all("License-File") == ["LICENSE"]
