"""Mappings of the ports that are plugged in: changed at once, written in the background."""

import logging
from collections.abc import Callable, Sequence
from threading import Lock

from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment, PortMapping, Value
from streamcam.control.midi.mapping_store import MappingStore, StoredMapping
from streamcam.control.midi.open_port import OpenPort

log = logging.getLogger(__name__)


class PortMappings:
    """The mappings in use; any thread may change them, one thread reads and writes the files.

    Args:
        ports: returns the open ports; those of the same title share their mappings.
        store: the files.
        report: takes a line for the log.
    """

    def __init__(
        self,
        ports: Callable[[], Sequence[OpenPort]],
        store: MappingStore,
        report: Callable[[str], None],
    ) -> None:
        self._ports = ports
        self._store = store
        self._report = report
        self._lock = Lock()
        self._unsaved: list[OpenPort] = []
        self._shown: tuple[Sequence[PortMapping], tuple[str, ...]] = ((), ("",))

    def load(self, title: str) -> StoredMapping:
        """Return the mappings of a port that was plugged in, and report what is wrong with them."""
        stored = self._store.load(title)
        for problem in stored.problems:
            self._report(f"MIDI: {problem}")
        return stored

    def map(self, port: OpenPort, control: Control, assignment: Assignment) -> None:
        """Map a control of `port`."""
        with self._lock:
            self._replace(port, port.mapping.with_(control, assignment))
        log.info("MIDI: %s of %s is %s", control, port.title, _shown_target(assignment))

    def forget(self, address: str, value: Value) -> bool:
        """Remove what is mapped to `address`, with a `value` what sends that; say if anything."""
        with self._lock:
            changed = {
                port.title: port
                for port in self._ports()
                if port.mapping.without(address, value) != port.mapping
            }
            for port in changed.values():
                self._replace(port, port.mapping.without(address, value))
        return bool(changed)

    def _replace(self, port: OpenPort, mapping: PortMapping) -> None:
        self._use(port.title, mapping)
        self._unsaved.append(port)

    def _use(self, title: str, mapping: PortMapping) -> None:
        for port in self._ports():
            if port.title == title:
                port.use(mapping)

    def lines(self) -> tuple[str, ...]:
        """Return a text for each mapping, such as ``strength: cc 0 ch 1, nanoKONTROL2``."""
        ports = self._ports()
        mappings = [port.mapping for port in ports]
        if mappings != self._shown[0]:
            lines = dict.fromkeys(
                f"{_shown_target(assignment)}: {control}, {port.title}"
                for port in ports
                for control, assignments in port.mapping.controls.items()
                for assignment in assignments
            )
            self._shown = (mappings, tuple(lines) or ("",))
        return self._shown[1]

    def read_changed_files(self) -> None:
        """Read the files again that were edited."""
        for port in self._ports():
            if port in self._unsaved or not self._store.has_changed(port.title, port.stored):
                continue
            stored = self.load(port.title)
            with self._lock:
                port.stored = stored
                if not stored.is_damaged:
                    port.use(stored.mapping)

    def save(self) -> None:
        """Write what was changed since the last call."""
        while self._unsaved:
            with self._lock:
                port = self._unsaved[0]
                mapping = port.mapping
            try:
                stored = self._store.save(port.title, port.stored, mapping)
            except Exception as error:
                self._report(f"MIDI: the mapping is used, but not kept: {error}")
            else:
                self._saved(port, mapping, stored)
            with self._lock:
                self._unsaved.pop(0)

    def _saved(self, port: OpenPort, mapping: PortMapping, stored: StoredMapping) -> None:
        with self._lock:
            for other in self._ports():
                if other.title == port.title:
                    other.stored = stored
            if port.mapping is mapping:
                # With what was edited in the file meanwhile.
                self._use(port.title, stored.mapping)


def _shown_target(assignment: Assignment) -> str:
    sent = "" if assignment.value is None else f" {assignment.value}"
    return f"{assignment.address}{sent}"
