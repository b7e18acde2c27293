"""Tables of settings in files: presets by name, and what a model brings."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamcam.embedded import embedded
from streamcam.errors import ConfigError, suggest

OWN_FILE = "streamcam.toml"
OWN = (
    *("width", "height", "steps", "t_index_list", "strength", "num_inference_steps"),
    *("cfg_type", "guidance_scale", "delta", "do_add_noise", "prompt", "negative_prompt"),
)
"""What a model's own file may set: how it is best run, and nothing of where pictures go."""


def load(preset: str) -> dict[str, Any]:
    """Return the settings of a TOML file, or of the preset of that name in ``configs/``."""
    path = Path(preset)
    if path.suffix != ".toml":
        found = presets()
        if preset not in found:
            raise ConfigError(f'no preset "{preset}": {suggest(preset, found)}')
        path = found[preset]
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def presets() -> dict[str, Path]:
    """Return the shipped presets and those in ``./configs``, which win, by name."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "pyproject.toml"
    shipped = package.parent / "configs" if checkout.exists() else package / "configs"
    folders = (shipped, Path("configs"))
    return {p.stem: p for folder in folders for p in sorted(folder.glob("*.toml"))}


def own_settings(model: str) -> dict[str, Any]:
    """Return the settings that the folder of `model` brings, an empty table if it has none.

    Raises:
        ConfigError: the file is damaged, or sets what is none of a model's business.
    """
    file = _own_file(model)
    settings = load(str(file)) if file else {}
    if others := [name for name in settings if name not in OWN]:
        raise ConfigError(f'{file} may not set "{others[0]}", but only {", ".join(OWN)}')
    return settings


def _own_file(model: str) -> Path | None:
    with suppress(OSError, RuntimeError):  # A name may be too long for a path, or no home be known.
        file = (embedded(model) or Path(model).expanduser()) / OWN_FILE
        return file if model and file.is_file() else None
    return None
