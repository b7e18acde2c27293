"""Settings in TOML files: presets by name, and the file that a model's folder may hold."""

import unicodedata
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from streamcam.embedded_model import LOOKS, embedded
from streamcam.errors import ConfigError, StreamcamError, suggest
from streamcam.settings.layer import Layer, toml_layer
from streamcam.system.paths import presets_folder
from streamcam.system.regular_file import read_regular

MODEL_SETTINGS_FILE = "streamcam.toml"
MAX_BYTES = 100_000
"""Size of a file of settings; all that there are, and their comments, take a tenth of it."""


def load_preset(preset: str) -> Layer:
    """Return the settings of a TOML file, or of the preset of that name in ``configs/``.

    Raises:
        ConfigError: there is none, it cannot be read, or is not valid TOML.
    """
    path = Path(preset)
    if path.suffix != ".toml":
        available = find_presets()
        if preset not in available:
            raise ConfigError(no_preset(preset, available))
        path = available[preset]
    return read_settings(path)[0]


def no_preset(name: str, known: Collection[str]) -> str:
    """Return a line on a preset that does not exist, with what may be meant."""
    if name.casefold() in LOOKS:
        return (
            f'no preset "{name}", but nano knows it as a prompt: run --prompt "{name}",'
            f' or on air streamcam prompt "{name}"'
        )
    hint = suggest(name[:40], known)
    every = "" if hint.startswith("did you mean") else '; "streamcam presets" lists all'
    return f'no preset "{name:.40}": {hint}{every}'


def read_settings(path: Path, max_bytes: int = MAX_BYTES) -> tuple[Layer, str]:
    """Return what a TOML file holds, and its text.

    Raises:
        ConfigError: it cannot be read, or is not valid TOML.
    """
    text = _read(path, max_bytes)
    try:
        return toml_layer(text, str(path)), text
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        # Python refuses to parse numbers of more than some thousand digits.
        reason = "a number has too many digits" if "digits" in str(error) else error
        raise ConfigError(f"{path} is not valid TOML: {reason}") from None


def _read(path: Path, max_bytes: int) -> str:
    try:
        return read_regular(path, max_bytes).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text") from None
    except ValueError as error:  # A name with a null character.
        raise ConfigError(f"cannot read {str(path)!r}: {error}") from None


def find_presets() -> dict[str, Path]:
    """Return the presets by name: those that come with streamcam, the user's, and ``./configs``.

    Of one name the last wins.
    """
    return presets_in(shipped_folder()) | own_presets() | presets_in(Path("configs"))


def own_presets() -> dict[str, Path]:
    """Return the user's own presets by name; none where no home folder is known."""
    with suppress(StreamcamError):
        return presets_in(presets_folder())
    return {}


def presets_in(folder: Path) -> dict[str, Path]:
    """Return the presets in `folder` by name, in the one form that Unicode has for each letter."""
    return {unicodedata.normalize("NFC", p.stem): p for p in sorted(folder.glob("*.toml"))}


def protected_presets() -> dict[str, str]:
    """Return why presets that are not the user's own stay as they are, by name in small letters."""
    here = {
        name: f'the preset "{name}" is in ./configs, where it stays as it is'
        for name in presets_in(Path("configs"))
    }
    shipped = {
        name: f'the preset "{name}" comes with streamcam' for name in presets_in(shipped_folder())
    }
    return {name.casefold(): reason for name, reason in (here | shipped).items()}


def shipped_folder() -> Path:
    """Return the folder of the presets that come with streamcam."""
    package = Path(__file__).parents[1]
    # Inside the package where it is installed; next to it in a checkout.
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def model_settings(model: str, allowed: Collection[str]) -> Layer:
    """Return the settings in the folder of `model`, an empty table if it has none.

    Args:
        model: name of the model; only a folder, or a model that comes with streamcam, has any.
        allowed: settings that a model may bring.

    Raises:
        ConfigError: the file is damaged, or sets anything else.
    """
    file = _model_settings_file(model)
    if file is None:
        return Layer({}, str)
    settings = load_preset(str(file))
    if refused := [name for name in settings if name not in allowed]:
        raise ConfigError(
            f'{file} may not set "{refused[0]}", but only {", ".join(allowed)}'
            f" ({settings.place(refused[0])})"
        )
    return settings


def _model_settings_file(model: str) -> Path | None:
    with suppress(OSError, RuntimeError):  # A name may be too long for a path, or no home be known.
        file = (embedded(model) or Path(model).expanduser()) / MODEL_SETTINGS_FILE
        return file if model and file.is_file() else None
    return None
