"""Short texts on the live parameters, for the status line, the log and the preview page."""

from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import Prompt

OVERRIDES = ("panic", "blackout", "freeze", "bypass")
"""Parameters that put something else on air than the model's output, the strongest first."""


def active_overrides(parameters: Parameters) -> tuple[str, ...]:
    """Return those of `OVERRIDES` that are on."""
    return tuple(name for name in OVERRIDES if getattr(parameters, name))


def prompt_text(prompt: Prompt) -> str:
    """Return `prompt` as one text; of several, each with its share: ``cat 70% + dog 30%``."""
    shown = [(text, weight) for text, weight in prompt if weight]
    if len(shown) == 1:
        return shown[0][0]
    total = sum(weight for _, weight in shown)
    return " + ".join(f"{text} {weight / total:.0%}" for text, weight in shown)
