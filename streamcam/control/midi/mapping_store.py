"""Files of mappings: those of the user by port, and those that come with streamcam."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment, PortMapping, PortSettings
from streamcam.control.midi.mapping_file import Check, edited, parse_mapping, written
from streamcam.errors import ConfigError, StreamcamError
from streamcam.settings.presets import shipped_folder
from streamcam.settings.safe_names import RESERVED
from streamcam.system.paths import midi_folder
from streamcam.system.private_file import replace_private
from streamcam.system.regular_file import read_regular

MAX_BYTES = 500_000
EMPTY = PortMapping(PortSettings(), {})
Stamp = tuple[int, int] | None
"""Time of change and size of a file, None if there is none."""


@dataclass(frozen=True)
class StoredMapping:
    """The mappings of a port, and the file that they are from."""

    mapping: PortMapping
    path: Path | None = None
    is_own: bool = False
    """The file is the user's; otherwise it came with streamcam."""
    stamp: Stamp = None
    problems: tuple[str, ...] = ()
    is_damaged: bool = False
    """Nothing in the file can be used, so nothing is written to it either."""


class MappingStore:
    """Reads and writes the mappings of ports.

    Args:
        check: see `parse_mapping`.
        folder: returns the folder of the user's files.
    """

    def __init__(self, check: Check, folder: Callable[[], Path] = midi_folder) -> None:
        self.check = check
        self._folder = folder

    def load(self, title: str) -> StoredMapping:
        """Return the mappings of the port called `title`, none if no file is for it."""
        problems: list[str] = []
        with suppress(StreamcamError):  # Where no home folder is known, there are none of the user.
            own = self._own_file(title)
            for path in [own] if own.exists() else self._files(own.parent):
                stored = self.read(path, is_own=True)
                if path == own or _is_for(stored, title):
                    return stored
                problems += stored.problems if stored.is_damaged else ()
        for path in self._files(shipped_folder() / "controllers"):
            stored = self.read(path, is_own=False)
            if _is_for(stored, title):
                return stored
        return StoredMapping(EMPTY, problems=tuple(problems))

    def has_changed(self, title: str, stored: StoredMapping) -> bool:
        """Return whether the file of a port was written, deleted or replaced since it was read."""
        with suppress(StreamcamError):
            if not stored.is_own and self._own_file(title).exists():
                return True
        return stored.path is not None and _stamp(stored.path) != stored.stamp

    def save(self, title: str, stored: StoredMapping, mapping: PortMapping) -> StoredMapping:
        """Write `mapping` to the user's file for a port; return it as it is stored now.

        What else is in the file stays, comments too. One that came with streamcam is copied.

        Raises:
            ConfigError: the file is damaged, or cannot be written.
        """
        if stored.is_damaged:
            raise ConfigError(f"{stored.path} is not changed, since it cannot be read; mend it")
        path = stored.path if stored.path and stored.is_own else self._own_file(title)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = self._changed_text(title, path, stored.mapping, mapping)
            # A link stays one, as to a folder of settings that is under version control.
            replace_private(path.resolve(), text.encode())
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        return self.read(path, is_own=True)

    def _changed_text(self, title: str, path: Path, base: PortMapping, mapping: PortMapping) -> str:
        """Return the text of the file at `path` with what differs between two mappings.

        It may have been edited since `base` was read from it.
        """
        if not path.exists():
            settings = mapping.settings.model_copy(update={"port": title})
            return written(PortMapping(settings, mapping.controls), f"MIDI controls of {title}")
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
        before = parse_mapping(text, str(path), self.check)
        changes = _changes(base, mapping)
        controls = {**before.mapping.controls, **changes}
        wanted = {control: entries for control, entries in controls.items() if entries}
        changed = edited(text, changes)
        with suppress(ConfigError):
            if parse_mapping(changed, str(path), self.check).mapping.controls == wanted:
                return changed
        # Written in a way that lines cannot be replaced in.
        if before.problems:
            raise ConfigError(f"{path} is not changed: {before.problems[0]}")
        return written(PortMapping(before.mapping.settings, wanted), f"MIDI controls of {title}")

    def _own_file(self, title: str) -> Path:
        return self._folder() / f"{safe_name(title)}.toml"

    def _files(self, folder: Path) -> Iterable[Path]:
        return sorted(folder.glob("*.toml"))

    def read(self, path: Path, *, is_own: bool = True) -> StoredMapping:
        """Return the mappings in a file, with what is wrong with it."""
        stamp = _stamp(path)
        try:
            text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
            mapping, problems = parse_mapping(text, str(path), self.check)
        except (OSError, UnicodeDecodeError, StreamcamError) as error:
            return StoredMapping(EMPTY, path, is_own, stamp, (_reason(path, error),), True)
        return StoredMapping(mapping, path, is_own, stamp, problems)


def safe_name(title: str) -> str:
    """Return a name for the file of a port, whatever the port calls itself."""
    name = re.sub(r"[^\w .-]+", "-", title)[:60].strip(" .-") or "port"
    return f"{name}-port" if name.lower() in RESERVED else name


def _is_for(stored: StoredMapping, title: str) -> bool:
    port = stored.mapping.settings.port
    return bool(port) and port.lower() in title.lower()


def _changes(before: PortMapping, after: PortMapping) -> dict[Control, tuple[Assignment, ...]]:
    """Return the controls whose mappings differ, and their new ones."""

    def differing() -> Iterator[Control]:
        for control in {**before.controls, **after.controls}:
            if before.controls.get(control) != after.controls.get(control):
                yield control

    return {control: after.controls.get(control, ()) for control in differing()}


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot read {path}: {error.strerror}"
    is_text = not isinstance(error, ValueError)
    return str(error) if is_text else f"cannot read {path}: it is not UTF-8 text"
