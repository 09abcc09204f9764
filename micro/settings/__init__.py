"""Settings: declared once, given by argument, flag, `MICRO_*` variable, TOML file or default."""

from micro.settings.load import load_settings, settings_help, variable_hints
from micro.settings.model import OPTIONS, PARTS, Part, Settings
from micro.settings.option import Option

__all__ = [
    "OPTIONS",
    "PARTS",
    "Option",
    "Part",
    "Settings",
    "load_settings",
    "settings_help",
    "variable_hints",
]
