"""The user's own presets: files that are saved, renamed and deleted by name, never by path."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

from streamcam.control.preset_bank import LOOK
from streamcam.errors import ConfigError, ParameterError, suggest
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets, presets_in, protected_presets
from streamcam.settings.safe_names import safe_name
from streamcam.settings.toml_values import toml_setting
from streamcam.sinks.atomic_file import explain_os_error, rename_to_free
from streamcam.system.paths import presets_folder
from streamcam.system.private_file import replace_private

ALWAYS = ("prompt", "prompt_interpolation", "seed")
"""Values that every saved look has, so that it comes back whatever a broadcast began with."""
SAVED = (*LOOK, "prompt_interpolation", "seed", "mix", "detail")
"""Live values that make a look, which a preset keeps."""
MAX_PRESETS = 500
"""Presets of the user; senders of nonsense must not fill the disk."""


def look_of(parameters: Parameters, defaults: Parameters | None = None) -> dict[str, Any]:
    """Return the values that make the look of `parameters`, by field name.

    Args:
        parameters: the operator's choice.
        defaults: what a preset sets where it says nothing; without them all is kept.
    """
    look: dict[str, Any] = {}
    for name in SAVED:
        value = getattr(parameters, name)
        own = Parameters.model_fields[name].get_default()
        expected = getattr(defaults, name) if defaults else None if name in LOOK else own
        # The numbers of one model would mislead another, so what it sets itself is left out.
        is_default = value == expected and (name in LOOK or value == own)
        if value is not None and (name in ALWAYS or not is_default):
            look[name] = value
    return look


def preset_text(values: Mapping[str, Any]) -> str:
    """Return settings as the text of a preset, one a line."""
    return "".join(f"{name} = {toml_setting(name, value)}\n" for name, value in values.items())


def saved_file(name: str) -> Path:
    """Return the file that the user's preset `name` is, or would be, kept in.

    Raises:
        ParameterError: `name` is no name for a preset, or one that is not the user's has it.
        StreamcamError: no home folder is known.
    """
    name = safe_name(name, "a preset")
    check_unprotected(name, protected_presets())
    folder = presets_folder()
    return presets_in(folder).get(name, folder / f"{name}.toml")


def check_unprotected(name: str, protected: Mapping[str, str]) -> None:
    """Raise ParameterError if `name` is that of a preset that is not the user's own."""
    if reason := protected.get(name.casefold()):
        raise ParameterError(f"{reason}; choose another name")


def check_own(name: str, protected: Mapping[str, str]) -> None:
    """Raise ParameterError if `name`, to be renamed or deleted, is not the user's own."""
    if reason := protected.get(name.casefold()):
        raise ParameterError(f"{reason}; only your own presets can be renamed and deleted")


def own_file(name: str) -> Path:
    """Return the file of the user's preset `name`.

    Raises:
        ParameterError: the user has none of that name.
        StreamcamError: no home folder is known.
    """
    yours = presets_in(presets_folder())
    name = normalize("NFC", name).strip()
    if name not in yours:
        check_own(name, protected_presets())
        safe_name(name, "a preset")
        hint = suggest(name, yours) if yours else "you have none so far"
        raise ParameterError(f'you have no preset "{name}": {hint}')
    return yours[name]


def save_preset(name: str, text: str, *, overwrite: bool, keep_old: bool = False) -> Path:
    """Write the user's preset `name`, all of it or nothing; return its file.

    Args:
        name: a new one, or one of the user's presets.
        text: content of the file.
        overwrite: whether it may take the place of one that there is.
        keep_old: keep that one next to it, as ``NAME.toml~``.

    Raises:
        ConfigError: the name is refused, or the file cannot be written.
    """
    path = saved_file(name)
    exists = os.path.lexists(path)
    if exists and not overwrite:
        raise ConfigError(f'there is a preset "{name}" already; replace it with --overwrite')
    if not exists and len(presets_in(path.parent)) >= MAX_PRESETS:
        raise ParameterError(f"you have {MAX_PRESETS} presets already; delete some first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if exists and keep_old:
            replace_private(path.with_name(f"{path.name}~"), path.read_bytes())
        replace_private(path, text.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {explain_os_error(error)}") from None
    return path


def rename_preset(old: str, new: str) -> Path:
    """Rename one of the user's presets, never over another; return its new file.

    Raises:
        ConfigError: a name is refused or taken, or the file cannot be renamed.
    """
    source, target = own_file(old), saved_file(new)
    if safe_name(new, "a preset") in find_presets():
        raise ParameterError(f'there is a preset "{new}" already; choose another name')
    try:
        rename_to_free(source, target)
    except FileExistsError:
        raise ParameterError(f"there is a file {target} already; choose another name") from None
    except OSError as error:
        raise ConfigError(f"cannot rename {source}: {explain_os_error(error)}") from None
    return target


def delete_preset(name: str) -> Path:
    """Delete one of the user's presets; return the file that it had.

    Raises:
        ConfigError: the user has none of that name, or it cannot be deleted.
    """
    path = own_file(name)
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"cannot delete {path}: {explain_os_error(error)}") from None
    return path
