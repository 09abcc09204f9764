from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from micro.settings.load import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_links_of_the_site_stay_in_the_site() -> None:
    docs = ROOT / "docs"
    links = [(page, link) for page in docs.rglob("*.md") for link in LINK.findall(page.read_text())]
    left = [f"{page.name}: {link}" for page, link in links if not inside(page, link, docs)]

    assert left == []


def inside(page: Path, link: str, folder: Path) -> bool:
    return (page.parent / link).resolve().is_relative_to(folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for block in BLOCK.findall(page.read_text()):
        lines = "\n".join(f"    {line}" for line in block.splitlines())

        compile(f"async def example():\n{lines}\n", str(page), "exec")


def test_the_guide_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    table = (ROOT / "docs/guide/install.md").read_text().partition("## Extras")[2]

    assert [name for name in extras if f"`{name}`" not in table] == []


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for option in OPTIONS:
        default = f"`{option.default_text}`" if option.default_text else "none"
        rows.append(f"| `{option.name}` | {default} | {option.help} |")
    return "\n".join(rows)


def test_the_settings_table_is_what_the_program_knows() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    table = text.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]

    assert table.replace("\\|", "|") == settings_table()
