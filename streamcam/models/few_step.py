"""Few-step models and LoRAs as they are published, recognised by the names of their files."""

import re
from typing import NamedTuple

from streamcam.settings.config import Config

NAMELESS = ("pytorch_lora_weights.", "diffusion_pytorch_model.", "adapter_model.")
"""Beginnings of files that are called the same in every repository."""
STEPS_IN_NAME = re.compile(r"(\d+)[-_]?steps?(?![a-z])")


class FewStepModel(NamedTuple):
    """A kind of few-step model, and how its authors run it."""

    name: str
    pattern: re.Pattern[str]
    """Matches a file, or an id on the hub, in small letters."""
    sampler: str = "lcm"
    """As in the setting ``sampler``."""
    spacing: str = "lcm"
    """As in the setting ``timestep_spacing``."""
    is_made_for: bool = True
    """Whether the number of steps in its name is the only one that it runs at."""
    timesteps: tuple[int, ...] | None = None
    """The only ones that it knows, where they are not spaced like those of others."""
    prediction: str | None = None
    """As in the setting ``prediction_type``, where it differs from that of its base."""


class Recognised(NamedTuple):
    """A model or LoRA of a known kind."""

    file: str
    kind: FewStepModel
    steps: int | None
    """Number of steps that it is made for, None where it is none in particular."""

    def __str__(self) -> str:
        if self.steps is None:
            return f"{self.file} is {self.kind.name}"
        plural = "" if self.steps == 1 else "s"
        return f"{self.file} is {self.kind.name}, made for {self.steps} step{plural}"


KINDS = (
    FewStepModel(
        "SDXL-Lightning",
        re.compile(r"sdxl[-_]lightning[-_]1step.*x0"),
        "euler",
        "trailing",
        prediction="sample",
    ),
    FewStepModel("SDXL-Lightning", re.compile(r"sdxl[-_]lightning"), "euler", "trailing"),
    # The LoRA for one step runs at any number of them, with TCD.
    FewStepModel(
        "the unified Hyper-SD",
        re.compile(r"hyper-sd(15|xl)-1steps?-lora"),
        "tcd",
        is_made_for=False,
    ),
    FewStepModel("Hyper-SD for one step", re.compile(r"hyper-sdxl-1steps?-unet"), timesteps=(800,)),
    FewStepModel("Hyper-SD", re.compile(r"hyper-sd(15|xl)-"), "ddim", "trailing"),
    FewStepModel("DMD2", re.compile(r"(?<![a-z0-9])dmd2[-_]sdxl[-_]1step"), timesteps=(399,)),
    FewStepModel("DMD2", re.compile(r"(?<![a-z0-9])dmd2(?![a-z0-9])"), "lcm", "trailing"),
    FewStepModel("TCD", re.compile(r"(?<![a-z0-9])tcd[-_].*lora"), "tcd", is_made_for=False),
    FewStepModel(
        "PCM in the manner of LCM", re.compile(r"pcm_(sd15|sdxl)_lcmlike"), is_made_for=False
    ),
    FewStepModel("PCM", re.compile(r"pcm_(sd15|sdxl)_"), "ddim", "trailing"),
    FewStepModel("LCM", re.compile(r"lcm[-_]lora"), is_made_for=False),
    FewStepModel("LCM", re.compile(r"lcm[-_]sdxl|lcm_dreamshaper|lcm_ssd"), is_made_for=False),
)
"""The first that matches counts."""


def few_step_model(config: Config, *, lcm_lora: bool) -> Recognised | None:
    """Return the few-step model among the files of `config`: its LoRAs, its U-Net, its model.

    With `lcm_lora`, ``lcm_lora_id`` counts too.
    """
    loras = [name for name, scale in config.lora.items() if scale]
    for name in [*loras, config.lcm_lora_id if lcm_lora else None, config.unet, config.model]:
        if name and (found := recognise(name)):
            return found
    return None


def recognise(name: str) -> Recognised | None:
    """Return the kind of few-step model that is published as `name`, None for any other."""
    # Folders may be called anything; but many files of repositories have the same name.
    parts = [part for part in re.split(r"[/\\]", name.lower()) if part]
    last = next((part for part in reversed(parts) if not part.startswith(NAMELESS)), "")
    for kind in KINDS:
        if kind.pattern.search(last):
            count = STEPS_IN_NAME.search(last) if kind.is_made_for else None
            return Recognised(name, kind, int(count[1]) if count else None)
    return None
