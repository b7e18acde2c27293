"""Settings in TOML files: presets by name, and the file that a model's folder may hold."""

import tomllib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamcam.embedded_model import embedded
from streamcam.errors import ConfigError, suggest
from streamcam.regular_file import read_regular

MODEL_SETTINGS_FILE = "streamcam.toml"
MAX_BYTES = 1_000_000


def load_preset(preset: str) -> dict[str, Any]:
    """Return the settings of a TOML file, or of the preset of that name in ``configs/``."""
    path = Path(preset)
    if path.suffix != ".toml":
        available = find_presets()
        if preset not in available:
            raise ConfigError(f'no preset "{preset}": {suggest(preset, available)}')
        path = available[preset]
    try:
        return tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def find_presets() -> dict[str, Path]:
    """Return the presets that come with streamcam and those in ``./configs``, which win."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "pyproject.toml"
    shipped = package.parent / "configs" if checkout.exists() else package / "configs"
    folders = (shipped, Path("configs"))
    return {p.stem: p for folder in folders for p in sorted(folder.glob("*.toml"))}


def model_settings(model: str, allowed: Collection[str]) -> dict[str, Any]:
    """Return the settings in the folder of `model`, an empty table if it has none.

    Args:
        model: name of the model; only a folder, or a model that comes with streamcam, has any.
        allowed: settings that a model may bring.

    Raises:
        ConfigError: the file is damaged, or sets anything else.
    """
    file = _model_settings_file(model)
    settings = load_preset(str(file)) if file else {}
    if refused := [name for name in settings if name not in allowed]:
        raise ConfigError(f'{file} may not set "{refused[0]}", but only {", ".join(allowed)}')
    return settings


def _model_settings_file(model: str) -> Path | None:
    with suppress(OSError, RuntimeError):  # A name may be too long for a path, or no home be known.
        file = (embedded(model) or Path(model).expanduser()) / MODEL_SETTINGS_FILE
        return file if model and file.is_file() else None
    return None
