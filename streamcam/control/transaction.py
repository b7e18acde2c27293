"""Transaction: the changes of one packet, collected before any of them takes effect."""

from typing import Any

from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Fade
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import Prompt

MIN_WEIGHT = 0.001
"""Weight that the last prompt with a weight keeps when its fader goes to 0: one must remain."""


class Transaction:
    """Changes to a snapshot, to be applied as one."""

    def __init__(self, before: Parameters, presets: PresetBank, steps: int) -> None:
        self.before = before
        self.presets = presets
        self.steps = steps
        """Denoising steps, fixed at start."""
        self.preset: str | None = None
        """The preset that was loaded, to become the current one."""
        self.over: float | None = None
        """Seconds of the fade that a message asked for."""
        self.clamped = False
        """Whether the last message asked for a value out of range and got the nearest."""
        self.warnings: list[str] = []
        """What was left out of the last message."""
        self._changes: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._changes.get(name, getattr(self.before, name))

    def __setitem__(self, name: str, value: Any) -> None:
        # Two forms of one thing, of which the later one counts.
        if name == "strength":
            self._changes.pop("t_index_list", None)
        elif name == "t_index_list":
            self._changes.pop("strength", None)
        self._changes[name] = value

    def copy(self) -> "Transaction":
        """Return an independent copy, with `clamped` and `warnings` cleared."""
        copy = Transaction(self.before, self.presets, self.steps)
        copy.preset = self.preset
        copy.over = self.over
        copy._changes = dict(self._changes)
        return copy

    def load(self, preset: str) -> None:
        """Take the live values of a preset; raise ParameterError if there is none."""
        self._changes |= self.presets.changes(preset)
        self.preset = preset

    def changes(self) -> dict[str, Any]:
        """Return all changes by field name."""
        changes = dict(self._changes)
        if not any(weight for _, weight in self["prompt"]):
            changes["prompt"] = self._with_a_weight(self["prompt"])
        return changes

    def fade(self) -> float | Fade | None:
        """Return the fade: that of presets for a preset, None for the default."""
        if self.over is not None:
            return self.over
        return Fade(self["preset_time"], self["preset_easing"]) if self.preset else None

    def _with_a_weight(self, prompt: Prompt) -> Prompt:
        """Return `prompt`, whose weights are all 0, keeping on the slot that was strongest."""
        before = self.before.prompt[: len(prompt)]
        strongest = max(range(len(before)), key=lambda slot: before[slot][1])
        return tuple(
            (text, MIN_WEIGHT if slot == strongest else 0.0)
            for slot, (text, _) in enumerate(prompt)
        )
