"""Ports that are plugged in: opened as they come, closed as they go, each reported once."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from streamcam.control.midi.midi_backend import (
    MidiBackend,
    chosen,
    input_names,
    missing,
    open_input,
    open_output,
    output_for,
    output_names,
    title_of,
)
from streamcam.control.midi.open_port import OpenPort
from streamcam.errors import DeviceError, one_line

log = logging.getLogger(__name__)

MAX_PORTS = 32


class PluggedPorts:
    """The ports that are wanted and there, open.

    One thread calls the methods; any thread may read `ports` and `titles`.

    Args:
        wanted: names of ports, parts of them, or ``auto``.
        backend: the system's ports.
        prepare: makes the port of a name and a title, not open yet.
        report: takes a line for the log.
    """

    def __init__(
        self,
        wanted: Sequence[str],
        backend: MidiBackend,
        prepare: Callable[[str, str], OpenPort],
        report: Callable[[str], None],
    ) -> None:
        self.ports: tuple[OpenPort, ...] = ()
        self.titles: tuple[str, ...] = ("",)
        self._wanted = tuple(filter(str.strip, wanted))
        self._backend = backend
        self._prepare = prepare
        self._report = report
        self._reported: set[str] = set()

    def poll(self) -> None:
        """Close the ports that are gone, and open those that have come."""
        try:
            names = input_names(self._backend)
            outputs = output_names(self._backend)
        except DeviceError as error:
            self._report_once(f"MIDI: {error}")
            return
        wanted = chosen(self._wanted, names)[:MAX_PORTS]
        for port in self.ports:
            if port.name not in wanted:
                self._close(port, "is gone; it is used again when it is back")
        for port in self.ports:
            if port.output is None:
                self._open_output(port, outputs)
        for name in wanted:
            if all(port.name != name for port in self.ports):
                self._open(name, outputs)
        for line in missing(self._wanted, names):
            self._report_once(f"MIDI: {line}; it is used as soon as it is there")
        if not names and not self.ports:
            self._report_once("MIDI: no controller is plugged in so far")

    def close(self) -> None:
        """Close all ports."""
        for port in self.ports:
            self._close(port, "")

    def send_feedback(self, port: OpenPort, now: float) -> None:
        """Send a port its values; one that cannot be written is read on, and opened again."""
        try:
            port.send_feedback(now)
        except Exception as error:  # Of the library, or the driver.
            output, port.output = port.output, None
            if output:
                with suppress(Exception):
                    output.close()
            self._report_once(f"MIDI: no feedback to {port.title}: {one_line(error)}")

    def _open(self, name: str, outputs: Sequence[str]) -> None:
        port = self._prepare(name, title_of(name))
        try:
            port.input = open_input(self._backend, name, port.receive)
        except DeviceError as error:
            self._report_once(f"MIDI: {error}")
            return
        self._open_output(port, outputs)
        self._reported = {line for line in self._reported if name not in line}
        log.info("MIDI: %s is connected", port.title)
        self._set((*self.ports, port))

    def _open_output(self, port: OpenPort, outputs: Sequence[str]) -> None:
        """Open the output of the device that a port belongs to, if it has one."""
        name = output_for(port.name, outputs)
        if name:
            try:
                port.output = open_output(self._backend, name)
            except DeviceError as error:
                self._report_once(f"MIDI: {error}")
            else:
                port.show_all()

    def _close(self, port: OpenPort, why: str) -> None:
        self._set(tuple(other for other in self.ports if other is not port))
        for end in (port.input, port.output):
            if end:
                with suppress(Exception):  # Its device may be gone.
                    end.close()
        if why:
            self._report(f"MIDI: {port.title} {why}")

    def _set(self, ports: tuple[OpenPort, ...]) -> None:
        self.ports = ports
        self.titles = tuple(port.title for port in ports) or ("",)

    def _report_once(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            self._report(line)
