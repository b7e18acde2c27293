"""What the messages of one packet lead to, gathered before any of it takes effect."""

from typing import Any

from streamcam.control.preset_bank import PresetBank
from streamcam.settings.parameters import Parameters, Prompt

LEAST_WEIGHT = 0.001
"""What the last prompt with a weight keeps when its fader goes to 0: some prompt must rule."""


class Draft:
    """The changes so far, to be applied as one."""

    def __init__(self, before: Parameters, presets: PresetBank, steps: int) -> None:
        self.before = before
        self.presets = presets
        self.steps = steps
        """Denoising steps, fixed at start."""
        self.preset: str | None = None
        """The preset loaded, which then is the current one."""
        self.clamped = False
        """Whether the last message asked for more than it got."""
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

    def copy(self) -> "Draft":
        """Return one that can be changed without changing this, as yet unclamped."""
        twin = Draft(self.before, self.presets, self.steps)
        twin.preset = self.preset
        twin._changes = dict(self._changes)
        return twin

    def load(self, preset: str) -> None:
        """Take over the live values of a preset; raise ParameterError where there is none."""
        for name, value in self.presets.changes(preset).items():
            self[name] = value
        self.preset = preset

    def changes(self) -> dict[str, Any]:
        """Return all that changes, by field name."""
        changes = dict(self._changes)
        if not any(weight for _, weight in self["prompt"]):
            changes["prompt"] = self._audible(self["prompt"])
        return changes

    def over(self) -> float | None:
        """Return the seconds of the fade: a preset's own, else the usual."""
        return float(self["preset_time"]) if self.preset else None

    def _audible(self, prompt: Prompt) -> Prompt:
        """Return `prompt`, whose weights are all 0, with the slot that ruled before kept on."""
        ruled = self.before.prompt[: len(prompt)]
        strongest = max(range(len(ruled)), key=lambda slot: ruled[slot][1])
        return tuple(
            (text, LEAST_WEIGHT if slot == strongest else 0.0)
            for slot, (text, _) in enumerate(prompt)
        )
