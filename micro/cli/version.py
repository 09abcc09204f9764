"""`micro version`."""

from __future__ import annotations

import platform
from importlib.metadata import entry_points
from importlib.metadata import version as version_of

import click

from micro.cli.output import as_json, table
from micro.plugins import GROUP

__all__ = ["version"]


@click.command()
@click.option("--json", "as_object", is_flag=True, help="Print JSON.")
def version(as_object: bool) -> None:
    """Show the versions of micro-rpc and Python, and the plugins that are installed."""
    entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    plugins = [
        {"name": entry.name, "package": entry.dist.name, "version": entry.dist.version}
        for entry in entries
        if entry.dist is not None
    ]
    ours = version_of("micro-rpc")
    if as_object:
        fields = {"micro": ours, "python": platform.python_version(), "plugins": plugins}
        click.echo(as_json(fields))
        return
    click.echo(f"micro-rpc {ours}, Python {platform.python_version()}, {platform.system()}\n")
    rows = [(one["name"], one["package"], one["version"]) for one in plugins]
    click.echo(table(("PLUGIN", "PACKAGE", "VERSION"), rows))
