"""Pages of the guide: their files, the output that they show, and their terminal sessions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GUIDE", "ROOT", "Page", "Session", "read_page"]

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"\A# ([\w./]+\.(?:py|toml))\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A command after `$`, and the lines that the page shows under it."""

    command: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page tells its reader to write and to run.

    A snippet that begins with `# name.py` starts that file; every other one continues the file of
    the snippet before it, at first `guide_<page>.py`. Blocks of `text` are that program's output,
    blocks of `console` are commands to type.
    """

    name: str
    files: dict[str, str]
    output: str
    sessions: tuple[Session, ...]

    @property
    def program(self) -> str:
        """The file that prints the output; empty when the page has none."""
        name = f"guide_{self.name.replace('-', '_')}.py"
        return name if name in self.files else ""

    def write(self, folder: Path) -> None:
        """Write its files."""
        for name, text in self.files.items():
            (folder / name).write_text(text)


def read_page(path: Path) -> Page:
    """Read a page of Markdown."""
    files: dict[str, str] = {}
    output = ""
    sessions: list[Session] = []
    current = f"guide_{path.stem.replace('-', '_')}.py"
    for language, text in _BLOCK.findall(path.read_text()):
        if language in ("python", "toml"):
            named = _NAMED.match(text)
            current = named[1] if named else current
            if language == "python" or named:
                files[current] = files.get(current, "") + text + "\n"
        elif language == "text":
            output += text
        elif language == "console":
            sessions += _sessions(text)
    return Page(name=path.stem, files=files, output=output, sessions=tuple(sessions))


def _sessions(text: str) -> list[Session]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    split = (part.partition("\n") for part in parts)
    return [Session(command=command, output=output) for command, _, output in split]
