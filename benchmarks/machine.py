"""What the figures were measured on, and what of."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.contenders import ROOT
from micro_nats import find_server

__all__ = ["describe", "sentence"]


def describe() -> dict[str, str | int]:
    """The machine, versions and commit."""
    changed = _say("git", "status", "--porcelain", "--", "micro", "plugins")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": " ".join((platform.system(), platform.release().partition("-")[0])),
        "python": platform.python_version(),
        "loop": _loop(),
        "nats_server": _say(find_server(), "--version").rpartition("v")[2],
        "commit": _say("git", "rev-parse", "--short", "HEAD") + ("+changes" if changed else ""),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 1),
    }


def sentence(machine: dict[str, str | int]) -> str:
    """The same, to be read."""
    return (
        f"{machine['date']}, commit {machine['commit']}: {machine['cores']} cores of "
        f"{machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{machine['python']} with {machine['loop']}, nats-server {machine['nats_server']}; "
        f"the machine's load was {machine['load']} before the run."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _loop() -> str:
    try:
        return f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        return "asyncio"


def _say(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
