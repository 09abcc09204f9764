"""What a command that a package adds to the `micro` tool may use.

Such a command is a click command that an entry point in the group `micro.commands` names.
"""

from __future__ import annotations

from micro.cli.group import SettingsCommand, settings_of
from micro.cli.missing import missing_service
from micro.cli.output import as_json, say, table

__all__ = ["SettingsCommand", "as_json", "missing_service", "say", "settings_of", "table"]
