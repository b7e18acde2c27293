"""The MIDI room: controllers come and go, are learnt, change values and show them."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Self

from streamcam.control.messages import Argument
from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controls import Control, Movement
from streamcam.control.midi.learning import Learner
from streamcam.control.midi.mapping import Assignment, Value
from streamcam.control.midi.mapping_store import MappingStore
from streamcam.control.midi.midi_backend import MidiBackend, load_backend
from streamcam.control.midi.open_port import OpenPort, Received
from streamcam.control.midi.plugged_ports import PluggedPorts
from streamcam.control.midi.port_mappings import PortMappings
from streamcam.control.surface import ControlSurface
from streamcam.errors import ConfigError, ParameterError, StreamcamError
from streamcam.limits import RateLimiter
from streamcam.settings.value_types import MAX_PROMPT_BYTES
from streamcam.system.paths import midi_folder
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

BATCH_S = 0.008
"""Seconds between two batches: a first movement is applied at once, a flood in batches."""
IDLE_S = 0.5
LEARNING_S = 0.05
FEEDBACK_S = 1 / 20
WITHOUT_OUTPUTS_S = 0.2
POLL_S = 2.0
JOIN_S = 2.0
MAX_CLOCK = 64
"""Messages of a clock that count in one batch; no tempo has more."""
CLOCK_SILENCE_S = 1.0
"""Seconds after which the clock of another port is followed."""
ClockListener = Callable[[int, float, Sequence[int]], object]
"""Takes the status byte, the monotonic time it came at and the data bytes of a clock's message."""


class MidiControl:
    """Context manager that follows the MIDI ports while it is entered.

    Two threads: one applies what controllers send, and waits for nothing else; the other looks
    which ports there are, opens them, sends feedback and writes files.
    """

    def __init__(
        self,
        surface: ControlSurface,
        report: Callable[[str], None],
        *,
        on_clock: ClockListener = lambda *_message: None,
        backend: MidiBackend | None = None,
        folder: Callable[[], Path] = midi_folder,
        poll_s: float = POLL_S,
    ) -> None:
        """Prepare to open the ports of the setting ``midi``.

        Args:
            surface: what controls change.
            report: takes a line for the log.
            on_clock: called for each message of a MIDI clock, from the thread that applies.
            backend: the ports of the system, by default those that mido finds.
            folder: returns the folder of the user's mappings.
            poll_s: seconds between two looks at the ports that there are.

        Raises:
            ConfigError: the extra ``midi`` is not installed.
        """
        self._surface = surface
        self._report = report
        self._poll_s = poll_s
        self._on_clock = on_clock
        self._targets = Targets(surface)
        self._learner = Learner()
        self._stopping, self._arrived = Event(), Event()
        self._plugged = PluggedPorts(
            surface.config.broadcast.midi,
            backend or load_backend(),
            self._open_port,
            report,
        )
        store = MappingStore(self._targets.check, folder)
        self._mappings = PortMappings(lambda: self._plugged.ports, store, report)
        self._clock_port, self._clock_at = "", float("-inf")
        self._refusals = RateLimiter(0.2, 2)
        self._lost: set[str] = set()
        self._threads = (
            SupervisedThread("midi", self._apply_all, self._stopping),
            SupervisedThread("midi-ports", self._follow_ports, self._stopping),
        )
        self._last_state: object = None
        bind = surface.commands.bind
        bind("midi/learn", self._learn, lambda: self._learner.waiting_for)
        bind("midi/forget", self._forget)
        bind("midi/ports", _only_read, lambda: self._plugged.titles)
        bind("midi/mappings", _only_read, self._mappings.lines)

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except StreamcamError:
            self._stopping.set()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._arrived.set()
        for thread in self._threads:
            thread.join(JOIN_S)  # A driver that hangs must not keep the broadcast from ending.

    def _open_port(self, name: str, title: str) -> OpenPort:
        stored = self._mappings.load(title)
        if stored.path:
            log.info("MIDI: %s follows %s", title, stored.path)
        return OpenPort(name, self._surface, self._targets, stored, self._arrived.set)

    # The thread that applies.

    def _apply_all(self) -> None:
        while not self._stopping.is_set():
            ports = self._plugged.ports
            learning = bool(self._learner.address)
            waiting = any(port.is_waiting for port in ports)
            timeout_s = BATCH_S if waiting else LEARNING_S if learning else IDLE_S
            self._arrived.wait(timeout_s)
            self._arrived.clear()
            for port in self._plugged.ports:
                self._apply(port)
            self._finish_learning()
            self._stopping.wait(BATCH_S)

    def _apply(self, port: OpenPort) -> None:
        clock, movements = port.take()
        if clock:
            self._pass_on(port, clock)
        now = time.monotonic()
        if movements and not self._learner.feed(port.name, movements, now):
            self._change(port, movements, now)
        if port.lost and port.name not in self._lost:
            self._lost.add(port.name)
            self._report(
                f"MIDI: {port.title} sends more than can be read; of each control the newest"
                " position counts"
            )

    def _change(self, port: OpenPort, movements: Sequence[Movement], now: float) -> None:
        for address, reason in port.apply(movements, now):
            if self._refusals.take(address):
                self._report(f"MIDI: {address}: {reason}")

    def _pass_on(self, port: OpenPort, messages: Sequence[Received]) -> None:
        """Pass on the clock of one port at a time: two at once would be no tempo."""
        for message, received_at in messages[-MAX_CLOCK:]:
            if port.name != self._clock_port:
                if received_at - self._clock_at < CLOCK_SILENCE_S:
                    continue
                self._clock_port = port.name
            self._clock_at = received_at
            status, *data = message.bytes()
            self._on_clock(status, received_at, data)

    def _finish_learning(self) -> None:
        now = time.monotonic()
        if self._learner.expired(now):
            self._report("MIDI: nothing was moved for a minute; no longer learning")
        learnt = self._learner.result(now)
        if learnt is None:
            return
        name, control, assignment = learnt
        for port in self._plugged.ports:
            if port.name == name:
                self._mappings.map(port, control, assignment)

    # Commands, from any thread.

    def _learn(self, arguments: Sequence[Argument]) -> None:
        if not arguments or arguments[0] == "":
            self._learner.cancel()
            return
        address, value = _address_and_value(arguments)
        try:
            target = self._targets.find(address)
            # A cue is jumped to by its number, which a program change sends.
            control = Control("program" if target.name == "cue/jump" else "cc")
            given = {"address": target.name, "value": value}
            self._targets.check(control, Assignment.parse(given, ParameterError))
        except ConfigError as error:
            raise ParameterError(str(error)) from None
        if self._learner.start(target, value, time.monotonic()):
            self._arrived.set()

    def _forget(self, arguments: Sequence[Argument]) -> None:
        self._learner.cancel()
        if not arguments or arguments[0] == "":
            return
        address, value = _address_and_value(arguments)
        try:
            name = self._targets.find(address).name
        except ConfigError as error:
            raise ParameterError(str(error)) from None
        if not self._mappings.forget(name, value):
            raise ParameterError(f"no MIDI control is mapped to {name}")

    # The thread that follows the ports.

    def _follow_ports(self) -> None:
        next_poll = 0.0
        try:
            while not self._stopping.is_set():
                if time.monotonic() >= next_poll:
                    self._plugged.poll()
                    self._mappings.read_changed_files()
                    next_poll = time.monotonic() + self._poll_s
                self._mappings.save()
                self._send_feedback()
                has_outputs = any(port.output for port in self._plugged.ports)
                self._stopping.wait(FEEDBACK_S if has_outputs else WITHOUT_OUTPUTS_S)
        finally:
            if self._stopping.is_set():
                self._mappings.save()
                self._plugged.close()

    def _send_feedback(self) -> None:
        state = self._surface.state()
        has_changed = state != self._last_state
        self._last_state = state
        now = time.monotonic()
        for port in self._plugged.ports:
            if has_changed or port.needs_feedback:
                self._plugged.send_feedback(port, now)


def _only_read(_arguments: Sequence[Argument]) -> None:
    raise ParameterError("is only read")


def _address_and_value(arguments: Sequence[Argument]) -> tuple[str, Value]:
    """Return the address, and the text or number after it if there is one."""
    if not isinstance(arguments[0], str):
        raise ParameterError("takes an address, such as strength")
    value = arguments[1] if len(arguments) == 2 else None
    if len(arguments) > 2:
        value = " ".join(map(str, arguments[1:]))
    if isinstance(value, str) and len(value.encode()) > MAX_PROMPT_BYTES:
        raise ParameterError(f"takes a text of {MAX_PROMPT_BYTES} bytes at most")
    return arguments[0], value
