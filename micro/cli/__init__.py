"""The `micro` command: run services, and call those that run.

Exit codes, for scripts:

    0    it worked
    1    the call failed; the error is on standard error, as `404 Not Found: ...`
    2    a flag, setting, name or target cannot be used, or a plugin is missing
    3    unavailable: no server, or no node serves what was asked for
    4    the time ran out
    130  interrupted with Ctrl-C
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from micro.cli.group import CommandTable
from micro.cli.output import exit_code, say, show_error
from micro.errors import MicroError

__all__ = ["main"]

_INTERRUPTED = 130


@click.command(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="micro-rpc", message="micro-rpc %(version)s")
def _micro() -> None:
    """Run services, and call those that run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the process ends after it.

    Args:
        argv: Words after the program's name; those of the process when not given.

    Returns:
        The exit code; see the module.
    """
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        result = _micro.main(args=words, prog_name="micro", standalone_mode=False)
    except click.ClickException as error:
        say(error.format_message())
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except MicroError as error:
        show_error(error)
        return exit_code(error)
    except BrokenPipeError:
        # The reader of our output closed it; the flush at exit must not fail for the same reason.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0
