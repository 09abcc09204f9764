"""Runs programs one after the other in this process, and prints what each printed, as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import runpy
import sys
import traceback
from pathlib import Path


def run(program: Path) -> tuple[str, str]:
    """What a program writes to its output and to its error output, a traceback included."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(str(program), run_name="__main__")
        except BaseException:
            traceback.print_exc()
    return out.getvalue(), err.getvalue()


if __name__ == "__main__":
    # Log lines of the services are no part of what a page tells.
    logging.getLogger("micro").addHandler(logging.NullHandler())
    programs = [Path(each) for each in sys.argv[1:]]
    print(json.dumps({program.name: run(program) for program in programs}))
