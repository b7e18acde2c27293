"""Entry points through which other installed packages add sources, sinks and engines."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from streamcam.errors import ConfigError, StreamcamError, one_line, suggest


def plugin_names(group: str) -> list[str]:
    """Return the sorted names that installed packages add to `group`, importing none of them."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load_plugin(group: str, name: str) -> Any:
    """Import and return the object behind the entry point `name` of `group`.

    Raises:
        ConfigError: no installed package has it.
        StreamcamError: its package cannot be imported, or lacks the object.
    """
    entry = next(iter(entry_points(group=group, name=name)), None)
    if entry is None:
        raise ConfigError(f'no plugin "{name}" in {group}: {suggest(name, plugin_names(group))}')
    try:
        return entry.load()
    except Exception as error:
        # Any error of a foreign package's import, told apart from a bug of streamcam's own.
        raise StreamcamError(
            f'the plugin "{name}" of the package {_package(entry)} cannot be loaded:'
            f" {one_line(error)}; update it or uninstall it"
        ) from error


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
