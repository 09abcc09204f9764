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

import logging
import os
import sys
from collections.abc import Sequence

import click

from micro.cli.group import CommandTable
from micro.cli.output import exit_code, show_error
from micro.errors import MicroError, UsageError
from micro.settings.load import find_log_format
from micro.telemetry.logs import setup_logging

__all__ = ["main"]

_INTERRUPTED = 130
_log = logging.getLogger("micro.cli")


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
        return _tell(words, UsageError(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except MicroError as error:
        return _tell(words, error)
    except BrokenPipeError:
        # The reader of our output closed it; the flush at exit must not fail for the same reason.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if words[0] != "run":
            raise
        # A start hook of the user's can raise anything.
        from micro.runtime.process import report_failure

        return report_failure(error, find_log_format(words, os.environ))
    return result if isinstance(result, int) else 0


def _tell(words: Sequence[str], error: MicroError) -> int:
    """Say in one line why a command failed, as a log line where it writes JSON lines."""
    if words[0] == "run" and find_log_format(words, os.environ) == "json":
        setup_logging("info", "json")
        _log.critical("%s", error.detail)
    else:
        show_error(error)
    return exit_code(error)
