"""MIDI learn: find out which control is moved, and what it sends."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from streamcam.control.messages import Argument
from streamcam.control.midi.control_targets import Target
from streamcam.control.midi.controls import (
    NRPN_LSB,
    NRPN_MSB,
    RPN_LSB,
    RPN_MSB,
    Control,
    Movement,
)
from streamcam.control.midi.mapping import Assignment, Value
from streamcam.control.midi.relative_encoders import detect

QUIET_S = 0.4
"""Seconds without a movement after which a control has been moved enough to be known."""
LONGEST_S = 1.5
PATIENCE_S = 60.0
"""Seconds after which learning ends by itself: later a control would be mapped unawares."""
MAX_MOVEMENTS = 1000
CONTINUOUS = ("number", "choice")
LEAST_MOVEMENTS = 3
PARTS = (NRPN_MSB, NRPN_LSB, RPN_MSB, RPN_LSB)


@dataclass
class _Lesson:
    target: Target
    value: Value
    began: float
    port: str = ""
    first: float = 0.0
    last: float = 0.0
    movements: list[Movement] = field(default_factory=list)


class Learner:
    """Waits for a control to be moved; any thread may start and cancel it."""

    def __init__(self) -> None:
        self._lesson: _Lesson | None = None
        self._lock = Lock()

    @property
    def address(self) -> str:
        """The address that waits for a control, empty if none does."""
        lesson = self._lesson
        return lesson.target.name if lesson else ""

    @property
    def waiting_for(self) -> tuple[Argument, ...]:
        """The address that waits for a control, and the value that it shall send, if any."""
        lesson = self._lesson
        if lesson is None:
            return ("",)
        return (lesson.target.name, *(() if lesson.value is None else (lesson.value,)))

    def start(self, target: Target, value: Value, now: float) -> bool:
        """Wait for a control for `target`; if it is waiting for that already, cancel.

        Returns:
            Whether it waits now.
        """
        with self._lock:
            waiting = self._lesson
            same = waiting and (waiting.target, waiting.value) == (target, value)
            self._lesson = None if same else _Lesson(target, value, now)
            return not same

    def cancel(self) -> None:
        self._lesson = None

    def feed(self, port: str, movements: Sequence[Movement], now: float) -> bool:
        """Take what was moved at `port`; return whether it was for the learner.

        While it waits, movements change no values, so that the control to be learnt does not do
        what it did before.
        """
        with self._lock:
            lesson = self._lesson
            if lesson is None:
                return False
            # Each half comes as a controller of its own, too.
            movements = [m for m in movements if m.control.kind != "cc14"]
            if lesson.target.kind == "other" and lesson.value is None:
                movements = [m for m in movements if m.control.kind == "program"]
            if not lesson.movements:
                # The end of a press that came before, or the lower stop of a fader.
                movements = [m for m in movements if _is_start(m)]
                lesson.port, lesson.first = port, now
            if movements and port == lesson.port:
                lesson.last = now
                lesson.movements += movements[: MAX_MOVEMENTS - len(lesson.movements)]
            return True

    def expired(self, now: float) -> bool:
        """Cancel, and return True, if nothing was moved for too long."""
        with self._lock:
            lesson = self._lesson
            if lesson and not lesson.movements and now - lesson.began > PATIENCE_S:
                self._lesson = None
                return True
            return False

    def result(self, now: float) -> tuple[str, Control, Assignment] | None:
        """Return the port, the control and its mapping, once it has been moved enough."""
        with self._lock:
            lesson = self._lesson
            if lesson is None or not lesson.movements:
                return None
            kind = lesson.movements[0].control.kind
            # A fader that feels a hand may send a note when it is touched.
            is_touch = kind == "note" and lesson.target.kind in CONTINUOUS
            is_whole = kind not in ("cc", "nrpn") and not is_touch
            is_over = now - lesson.last >= QUIET_S or now - lesson.first >= LONGEST_S
            if not (is_whole or is_over):
                return None
            self._lesson = None
        return lesson.port, *identify(lesson.movements, lesson.target, lesson.value)


def _is_start(movement: Movement) -> bool:
    return movement.raw > 0 or movement.steps is not None or movement.control.kind == "program"


def identify(
    movements: Sequence[Movement], target: Target, value: Value = None
) -> tuple[Control, Assignment]:
    """Return the control that was moved, and how it changes `target`."""
    faders = [m for m in movements if m.control.kind in ("cc", "nrpn", "pitch")]
    if target.kind in CONTINUOUS and len(faders) >= LEAST_MOVEMENTS:
        movements = faders
    first = movements[0].control
    given = Assignment(address=target.name, value=value)
    if first.kind == "program":
        # For something with many values each program is one, else this program is a button.
        any_program = value is None and target.kind in ("choice", "number", "other")
        return (first._replace(number=None) if any_program else first), given
    if first.kind not in ("cc", "nrpn"):
        return first, given
    control = _most_moved(Counter(m.control for m in movements)) or first
    values = [m.raw for m in movements if m.control == control]
    if control.kind == "cc" and value is None and (encoding := detect(values)):
        return control, given.model_copy(update={"relative": encoding})
    is_button = control.kind == "cc" and not set(values) - {0, 127}
    if value is None and target.kind == "flag" and not is_button:
        # A fader, which switches where it passes the middle.
        given = given.model_copy(update={"mode": "follow"})
    if value is None and target.kind in CONTINUOUS and is_button:
        given = given.model_copy(update={"mode": "toggle"})
    return control, given


def _most_moved(count: Counter[Control]) -> Control | None:
    """Return the controller that sent most, of equals the first, as the pair it may be a half of.

    A parameter's number and value come as controllers too, and are none then.
    """
    parameters = [c for c in count if c.kind == "nrpn"]
    controllers = [c for c in count if c.kind == "cc" and c.number not in PARTS]
    most = max(parameters or controllers, key=count.__getitem__, default=None)
    return _pair(most, count) if most and most.kind == "cc" else most


def _pair(control: Control, count: Counter[Control]) -> Control:
    """Return the 14-bit controller that `control` is a half of, else itself."""
    if control.number is None or control.number >= 64:
        return control
    number = control.number % 32
    high, low = (count[Control("cc", n, control.channel)] for n in (number, number + 32))
    is_pair = high >= 1 and low >= 2 and high <= low + 1
    return Control("cc14", number, control.channel) if is_pair else control
