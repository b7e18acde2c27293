"""``streamcam midi``: list the MIDI ports, watch what a controller sends, check a mapping."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

import click

from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controls import Decoder, MidiMessage
from streamcam.control.midi.mapping_store import MappingStore
from streamcam.control.midi.midi_backend import (
    AUTO,
    MidiBackend,
    chosen,
    input_names,
    load_backend,
    missing,
    open_input,
    output_for,
    output_names,
    title_of,
)
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.errors import DeviceError, StreamcamError, printable
from streamcam.settings.config_layers import build_config

CLOCK = "clock"
POLL_S = 0.2


@click.group()
def midi() -> None:
    """List MIDI ports and mappings, show what a controller sends."""


@midi.command(name="list")
def list_() -> None:
    """Show the MIDI inputs, and the file that each is mapped by."""
    backend = load_backend()
    names, outputs = input_names(backend), output_names(backend)
    if not names:
        click.echo("no MIDI input: plug in a controller")
        return
    store = _store()
    for name in names:
        stored = store.load(title_of(name))
        controls = len(stored.mapping.controls)
        mapped = f"{controls} controls mapped in {stored.path}" if stored.path else "not mapped yet"
        feedback = "" if output_for(name, outputs) else ", no feedback"
        click.echo(printable(f"{title_of(name)}: {mapped}{feedback}"))
        for problem in stored.problems:
            click.echo(printable(f"  {problem}"), err=True)


@midi.command()
@click.argument("port", default=AUTO)
def monitor(port: str) -> None:
    """Show what controls are moved and what they change, until Ctrl-C.

    PORT is the name of an input or a part of it; without it all are shown.
    """
    backend = load_backend()
    names = input_names(backend)
    found = chosen([port], names)
    if not found:
        raise DeviceError((missing([port], names) or ["no MIDI input: plug in a controller"])[0])
    received: SimpleQueue[tuple[str, MidiMessage]] = SimpleQueue()
    with ExitStack() as stack:
        for name in found:
            stack.callback(_opened(backend, name, received))
            click.echo(printable(f"listening to {title_of(name)}; Ctrl-C ends"), err=True)
        _show(received, {name: Decoder() for name in found})


def _opened(
    backend: MidiBackend, name: str, received: "SimpleQueue[tuple[str, MidiMessage]]"
) -> Callable[[], None]:
    """Open a port, whose messages go to `received`; return what closes it."""
    return open_input(backend, name, lambda message: received.put((name, message))).close


def _show(received: "SimpleQueue[tuple[str, MidiMessage]]", decoders: dict[str, Decoder]) -> None:
    """Print the movements that come, each with the addresses that it changes."""
    store = _store()
    mappings = {name: store.load(title_of(name)).mapping for name in decoders}
    while True:
        try:
            name, message = received.get(timeout=POLL_S)
        except Empty:
            continue
        if message.type == CLOCK:
            continue
        for movement in decoders[name].feed(message):
            changed = [a.address for _, a in mappings[name].find(movement.control)]
            # Any controller below 32 may be half of a pair, which is of interest only if mapped.
            if movement.control.kind == "cc14" and not changed:
                continue
            target = f" -> {', '.join(changed)}" if changed else ""
            line = f"{title_of(name)}: {movement.control} = {movement.raw}{target}"
            click.echo(printable(line))


@midi.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a file of mappings; say what is wrong, and in which line."""
    stored = _store().read(file)
    for problem in stored.problems:
        click.echo(printable(problem), err=True)
    if stored.problems:
        raise StreamcamError(f"{file}: {len(stored.problems)} to mend")
    click.echo(f"{file}: {len(stored.mapping.controls)} controls, all right")


def _store() -> MappingStore:
    config = build_config([])
    surface = ControlSurface(Control(config), config, lambda _line: None)
    return MappingStore(Targets(surface).check)
