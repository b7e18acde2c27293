"""Table of the commands of tempo and modulators."""

from collections.abc import Iterator, Mapping

from streamcam.control.command_declaration import Command
from streamcam.control.tempo.beat_grid import MAX_BEATS_PER_BAR, MAX_BPM, MIN_BPM
from streamcam.control.tempo.fading_numbers import FADING_NUMBERS
from streamcam.control.tempo.wave_shapes import SHAPES
from streamcam.settings.number_range import Range

OFF = "off"
BARS: Mapping[str, int] = {"bar": 1, "2 bars": 2, "4 bars": 4}
QUANTISE = (OFF, "beat", *BARS)
SOURCES = INTERNAL, MIDI, LINK = ("internal", "midi", "link")
SHAPE_NAMES = (OFF, *SHAPES)
UNITS = BEATS, HERTZ = ("beats", "hz")

BPM = Range(MIN_BPM, MAX_BPM)
BEATS_PER_BAR = Range(1, MAX_BEATS_PER_BAR, whole=True)
RATE = Range(0.01, 64)
SHARE = Range(0, 1)

UNAVAILABLE = "takes effect on air only: start streamcam run"


def _choice(words: tuple[str, ...], description: str) -> Command:
    return Command(
        "text or index",
        ", ".join(words),
        description,
        UNAVAILABLE,
        has_value=True,
        choices=words,
    )


def _number(range_: Range, description: str, fader: tuple[float, float] | None = None) -> Command:
    kind = "whole number" if range_.whole else "number"
    span = fader or (range_.low, range_.high)
    return Command(kind, range_.shown, description, UNAVAILABLE, has_value=True, fader=span)


def _modulator(name: str) -> Iterator[tuple[str, Command]]:
    yield (
        f"mod/{name}/shape",
        _choice(SHAPE_NAMES, f"Let {name} swing around the value that is set, in this shape."),
    )
    about = "Beats that one swing lasts, or swings per second; see unit."
    yield f"mod/{name}/rate", _number(RATE, about, (0.25, 16))
    yield f"mod/{name}/unit", _choice(UNITS, "Whether the rate is in beats or Hz.")
    about = "How far it swings to either side, as a share of what its fader spans."
    yield f"mod/{name}/depth", _number(SHARE, about)
    yield f"mod/{name}/phase", _number(SHARE, "Share of a swing that it is ahead.")


TEMPO_COMMANDS: Mapping[str, Command] = {
    "tempo/tap": Command(
        "trigger",
        "none, 1",
        "Tap along: from the second tap on, the tempo is that of your hand.",
        UNAVAILABLE,
        trigger=True,
    ),
    "tempo/bpm": _number(BPM, "Beats per minute.", (60, 180)),
    "tempo/beat": Command(
        "trigger", "none, 1", "Begin a bar now: this is the one.", UNAVAILABLE, trigger=True
    ),
    "tempo/beats_per_bar": _number(BEATS_PER_BAR, "Beats in a bar.", (1, 8)),
    "tempo/source": _choice(
        SOURCES, "What gives the tempo: taps and /tempo/bpm, a MIDI clock, or Ableton Link."
    ),
    "tempo/quantise": _choice(
        QUANTISE,
        "What prompts, choices, presets, cues and triggers wait for; numbers and safety never do.",
    ),
    "tempo/waiting": Command(
        "whole number",
        "from 0",
        "How many addresses have a change that waits for the beat.",
        UNAVAILABLE,
        has_value=True,
        read_only=True,
    ),
    **{address: command for name in FADING_NUMBERS for address, command in _modulator(name)},
}
"""The commands by their address without the prefix."""
