"""The size that a model ended at on this machine, for the next start with the same settings."""

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from streamcam.errors import StreamcamError
from streamcam.geometry import Size
from streamcam.settings.config import Config
from streamcam.system.cores import available_cores
from streamcam.system.paths import engines_folder, expanded
from streamcam.system.private_file import read_private, replace_private
from streamcam.version import __version__

log = logging.getLogger(__name__)

MAX_BYTES = 1000
IRRELEVANT = frozenset(
    {"live", "broadcast", "video", "engine_dir", "engine_store", "engine_wait", "offline"}
)
"""Settings that decide on nothing, or are asked for one by one."""


class _Content(BaseModel):
    size: tuple[int, int]
    too_large: tuple[int, int] | None = None


class RememberedSize:
    """A small file next to the engines; one that cannot be read or written changes nothing.

    Args:
        config: the settings, with the size that is the smallest.
    """

    def __init__(self, config: Config) -> None:
        key = {
            "settings": config.model_dump(mode="json", exclude=set(IRRELEVANT)),
            "steps": config.num_steps,
            "fps": config.broadcast.fps,
            "cores": available_cores(),
            "version": __version__,
        }
        text = json.dumps(key, sort_keys=True, default=str)
        self._name = f"{hashlib.sha256(text.encode()).hexdigest()}.size"
        self._folder = config.engine_dir

    def read(self) -> tuple[Size | None, Size | None]:
        """Return the size that was in use, and the smallest one known to be too large."""
        with suppress(OSError, StreamcamError, ValidationError, ValueError):
            content = _Content.model_validate_json(read_private(self._file(), MAX_BYTES))
            return content.size, content.too_large
        return None, None

    def write(self, size: Size, too_large: Size | None) -> None:
        """Keep both for the next start."""
        try:
            file = self._file()
            file.parent.mkdir(parents=True, exist_ok=True)
            content = _Content(size=size, too_large=too_large)
            replace_private(file, content.model_dump_json().encode())
        except (OSError, StreamcamError) as error:
            log.warning("the next start does not know the size of this one: %s", error)

    def _file(self) -> Path:
        folder = engines_folder() if self._folder is None else expanded(self._folder)
        return folder / self._name
