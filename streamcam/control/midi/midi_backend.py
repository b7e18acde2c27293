"""MIDI ports of the system, through mido and python-rtmidi, an optional extra."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from streamcam.control.midi.controls import MidiMessage
from streamcam.errors import ConfigError, DeviceError, StreamcamError, one_line, printable, suggest

AUTO = "auto"
THROUGH = re.compile(r"midi through", re.IGNORECASE)
"""Ports that only pass on what programs send, which ``auto`` leaves out."""
OWN = re.compile(r"RtMidi(In|Out) Client:RtMidi (in|out)put")
"""Ports that the library opens itself, as the other ends of those of controllers."""
SEQUENCER = Path("/dev/snd/seq")
NUMBERS = re.compile(r" \d+(:\d+)?$" if sys.platform == "win32" else r" \d+:\d+$")
"""End of a name that is another one after the device was plugged in again."""


class InputPort(Protocol):
    """An open input."""

    def close(self) -> None: ...


class OutputPort(Protocol):
    """An open output."""

    def send(self, message: Any) -> None: ...

    def close(self) -> None: ...


class MidiBackend(Protocol):
    """The part of `mido.Backend` that is used."""

    def get_input_names(self) -> list[str]: ...

    def get_output_names(self) -> list[str]: ...

    def open_input(self, name: str, *, callback: Callable[[MidiMessage], object]) -> InputPort: ...

    def open_output(self, name: str) -> OutputPort: ...


def load_backend() -> MidiBackend:
    """Return the system's MIDI.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        import mido

        backend: MidiBackend = mido.Backend(load=True)
    except ImportError:
        raise ConfigError(
            "MIDI needs mido and python-rtmidi, which are not installed; run pip install"
            ' "streamcam[midi]"'
        ) from None
    return backend


def make_message(kind: str, fields: dict[str, Any]) -> MidiMessage:
    """Return a message for `OutputPort.send`."""
    import mido

    message: MidiMessage = mido.Message(kind, **fields)
    return message


def input_names(backend: MidiBackend) -> list[str]:
    """Return the names of the inputs that there are now.

    Raises:
        DeviceError: the system gives none at all.
    """
    check_sequencer(backend)
    return _listed(backend.get_input_names)


def output_names(backend: MidiBackend) -> list[str]:
    """Return the names of the outputs that there are now; raise DeviceError as `input_names`."""
    check_sequencer(backend)
    return _listed(backend.get_output_names)


def check_sequencer(backend: MidiBackend, sequencer: Path = SEQUENCER) -> None:
    """Raise DeviceError where Linux lacks what every MIDI program needs.

    Without it the library prints lines of its own at every try.
    """
    is_rtmidi = getattr(backend, "name", "").startswith("mido.backends.rtmidi")
    if is_rtmidi and sys.platform == "linux" and not sequencer.exists():
        raise DeviceError(
            f"there is no MIDI here: {sequencer} is missing; load it with sudo modprobe snd-seq"
        )


def _listed(names: Callable[[], list[str]]) -> list[str]:
    try:
        return [name for name in dict.fromkeys(names()) if not OWN.match(name)]
    except Exception as error:  # Of a library that has errors of its own.
        raise DeviceError(f"the MIDI ports cannot be listed: {one_line(error)}") from None


def open_input(
    backend: MidiBackend, name: str, callback: Callable[[MidiMessage], object]
) -> InputPort:
    """Open an input; raise DeviceError if that fails."""
    try:
        return backend.open_input(name, callback=callback)
    except Exception as error:
        raise _cannot_open(name, error) from None


def open_output(backend: MidiBackend, name: str) -> OutputPort:
    """Open an output; raise DeviceError if that fails."""
    try:
        return backend.open_output(name)
    except Exception as error:
        raise _cannot_open(name, error) from None


def _cannot_open(name: str, error: Exception) -> StreamcamError:
    return DeviceError(
        f'the MIDI port "{name}" cannot be opened: {one_line(error)}; another program may have it'
    )


def title_of(name: str) -> str:
    """Return the name of a port without the numbers that change when it is plugged in again."""
    return printable(NUMBERS.sub("", name))


def chosen(wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return those of `names` that `wanted` asks for: by name, by part of it, or all (auto)."""
    found: list[str] = []
    for want in wanted:
        if want.lower() == AUTO:
            found += [name for name in names if not THROUGH.search(name)]
            continue
        exact = [name for name in names if want in (name, title_of(name))]
        found += exact or [name for name in names if want.lower() in name.lower()]
    return list(dict.fromkeys(found))


def missing(wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return a line for each of `wanted` that no port has in its name."""
    titles = list(dict.fromkeys(map(title_of, names)))
    lines = []
    for want in wanted:
        if want.lower() != AUTO and not chosen([want], names):
            hint = suggest(want, titles) if titles else "there is no MIDI input"
            lines.append(f'no MIDI port "{want:.60}" so far: {hint}')
    return lines


def output_for(name: str, outputs: Sequence[str]) -> str | None:
    """Return the output of the device that the input `name` belongs to, None if it has none."""
    title = title_of(name)
    if name in outputs:
        return name
    if same := [output for output in outputs if title_of(output) == title]:
        return same[0]
    # Elsewhere than on Linux they may end differently, such as SLIDER/KNOB and CTRL.
    device = re.split(r"[:\s]", title)[0].lower()
    alike = [output for output in outputs if output.lower().startswith(device)]
    return alike[0] if len(alike) == 1 and len(device) > 3 else None
