"""One controller that is plugged in: what it sends is queued, decoded and applied."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controller_feedback import ControllerFeedback
from streamcam.control.midi.controls import Decoder, MidiMessage, Movement, messages_for
from streamcam.control.midi.mapped_controls import MappedControls
from streamcam.control.midi.mapping import PortMapping
from streamcam.control.midi.mapping_store import StoredMapping
from streamcam.control.midi.midi_backend import InputPort, OutputPort, make_message, title_of
from streamcam.control.surface import ControlSurface

MAX_QUEUED = 4096
"""Messages that wait; of a flood the oldest are lost, since the newest position counts."""
CLOCK = ("clock", "start", "continue", "stop", "songpos")
MOVEMENTS = (
    *("control_change", "note_on", "note_off", "program_change"),
    *("pitchwheel", "aftertouch", "polytouch"),
)
WANTED = frozenset((*CLOCK, *MOVEMENTS))
Received = tuple[MidiMessage, float]
"""A message and the monotonic time at which it came."""


class OpenPort:
    """An input, the output of the same device if it has one, and the state of its controls.

    `receive` is called by the MIDI library; one thread calls `take` and `apply`, another
    `send_feedback`.
    """

    def __init__(
        self,
        name: str,
        surface: ControlSurface,
        targets: Targets,
        stored: StoredMapping,
        wake: Callable[[], object],
    ) -> None:
        self.name = name
        self.title = title_of(name)
        self.stored = stored
        self.mapping = stored.mapping
        """As it is used; `stored` follows in the background."""
        self.input: InputPort | None = None
        self.output: OutputPort | None = None
        self._is_new = True
        self.lost = 0
        """Messages that were overwritten before they were read."""
        self._wake = wake
        self._queue: deque[Received] = deque(maxlen=MAX_QUEUED)
        self._decoder = Decoder()
        self._controls = MappedControls(surface, targets)
        self._feedback = ControllerFeedback(surface, targets, self._controls)

    def receive(self, message: MidiMessage) -> None:
        """Queue a message; called in the library's thread, which must not be held up."""
        if message.type not in WANTED:
            return
        if len(self._queue) == MAX_QUEUED:
            self.lost += 1
        self._queue.append((message, time.monotonic()))
        self._wake()

    def take(self) -> tuple[list[Received], list[Movement]]:
        """Return the messages of a clock, and what was moved, since the last call."""
        clock: list[Received] = []
        movements: list[Movement] = []
        for _ in range(len(self._queue)):
            message, received_at = self._queue.popleft()
            if message.type in CLOCK:
                clock.append((message, received_at))
            else:
                movements += self._decoder.feed(message)
        movements += self._decoder.flush()
        return clock, movements

    @property
    def is_waiting(self) -> bool:
        """Whether the second half of a value may still come."""
        return self._decoder.is_waiting

    @property
    def needs_feedback(self) -> bool:
        """Whether there is something to send though no value has changed."""
        return self._is_new or self._feedback.is_holding

    def apply(self, movements: Sequence[Movement], now: float) -> Sequence[tuple[str, str]]:
        """Apply what was moved; return the addresses that were refused, and why."""
        mapping = self.mapping
        movements = [m for m in movements if not self._feedback.is_echo(m, mapping, now)]
        if not movements:
            return ()
        refused = self._controls.apply(movements, mapping, ("midi", self.name))
        for movement in movements:
            self._feedback.moved(movement, mapping, now)
        return refused

    def send_feedback(self, now: float) -> None:
        """Send the controller the values that it does not show yet."""
        self._is_new = False
        if self.output is None:
            return
        for control, share in self._feedback.due(self.mapping, now):
            for kind, fields in messages_for(control, share):
                self.output.send(make_message(kind, fields))

    def show_all(self) -> None:
        """Send all values with the next feedback, as the output was opened just now."""
        self._feedback.clear()
        self._is_new = True

    def use(self, mapping: PortMapping) -> None:
        """Use another mapping from now on, and show its values."""
        self.mapping = mapping
        self._is_new = True
