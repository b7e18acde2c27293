"""Stages of a diffusers pipeline as modules: `Encode`, `Denoise` and `Decode`.

`Denoise` returns the noise, or v if asked to, whether the U-Net predicts noise, v or the sample.
`Encode` and `Decode` take and return scaled latents, whatever the autoencoder. Latents are float32
outside, whatever dtype runs inside.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.diffusion.residuals import NO_RESIDUALS, ResidualShapes, unet_inputs
from streamcam.diffusion.schedule import signal_and_noise
from streamcam.diffusion.steering import LayerInputs, Steering, packed
from streamcam.errors import MAX_SHOWN
from streamcam.settings.model_settings import MAX_PROMPT_CHUNKS

LCM_GUIDANCE = 8.5
"""The guidance scale that latent consistency models run at (diffusers' own default)."""


START_AND_END = 2
"""Tokens that every encoder adds to a text."""


class Text(NamedTuple):
    """The embeddings of one text."""

    prompt_embeds: Tensor
    """``(1, L, D)``."""
    pooled_prompt_embeds: Tensor | None
    """``(1, P)`` for SDXL."""
    dropped_tokens: int = 0
    """Tokens at the end of the text that the encoder had no room for."""
    understood_as: str = ""
    """Looks that the model takes from the text, if it can say and the text does not."""
    chunks: int = 1
    """Chunks of tokens in `prompt_embeds`."""
    remarks: str = ""
    """Of what in the text is not read as it may be meant."""


def dropped_notice(text: str, encoded: Text) -> str:
    """Return a line on what was not read of `text`; empty if all of it was."""
    if not encoded.dropped_tokens:
        return ""
    read = encoded.prompt_embeds.shape[1] - START_AND_END * encoded.chunks
    needed = encoded.chunks + math.ceil(encoded.dropped_tokens * encoded.chunks / read)
    remedy = f" (prompt_chunks={needed} reads all)" if needed <= MAX_PROMPT_CHUNKS else ""
    return (
        f"the last {encoded.dropped_tokens} tokens of the prompt are not read, as this model reads"
        f' {read}{remedy}: "…{text[-MAX_SHOWN // 2 :]}"'
    )


def reading_notice(text: str, encoded: Text) -> str:
    """Return a line on what of `text` is not read, or not as it may be meant; empty if all is."""
    return "; ".join(filter(None, [dropped_notice(text, encoded), encoded.remarks]))


def understood_notice(texts: Mapping[str, Text]) -> str:
    """Return a line on what the texts of a prompt are understood as; empty if they say it.

    Args:
        texts: of a blend, or of a prompt and the one that it fades into, each with its embeddings.
    """
    names = {text: encoded.understood_as for text, encoded in texts.items()}
    if len(texts) > 1:
        names = {text: f'{name} ("{_shown(text)}")' for text, name in names.items() if name}
    shown = " + ".join(filter(None, names.values()))
    return f"understood as: {shown}" if shown else ""


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


class Condition(NamedTuple):
    """The conditioning of every row of a U-Net call, apart from its timestep."""

    encoder_hidden_states: Tensor
    """``(rows, L, D')``: prompt embeddings, with cached keys and values after them."""
    pooled_prompt_embeds: Tensor | None
    """``(rows, P)`` for SDXL."""
    time_ids: Tensor | None
    """``(rows, 6)`` for SDXL: original size, crop and target size."""


class Encode(nn.Module):
    """Encode images ``(f, 3, H, W)`` in [-1, 1] to scaled latents ``(f, C, h, w)``."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = vae.config.scaling_factor
        self.shift = vae.config.get("shift_factor") or 0.0

    def forward(self, images: Tensor, noise: Tensor | None) -> Tensor:
        encoded = self.vae.encode(images.to(self.vae.dtype))
        if hasattr(encoded, "latents"):
            latents = encoded.latents.float()
        else:
            posterior = encoded.latent_dist
            latents = posterior.mean.float() + posterior.std.float() * noise
        # Contiguous again: the U-Net is fastest so.
        result: Tensor = ((latents - self.shift) * self.scale).contiguous()
        return result

    def extra_repr(self) -> str:
        return f"scale={self.scale}, shift={self.shift}"


class Decode(nn.Module):
    """Decode scaled latents ``(f, C, h, w)`` to images ``(f, 3, H, W)``."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = vae.config.scaling_factor
        self.shift = vae.config.get("shift_factor") or 0.0

    def forward(self, latents: Tensor) -> Tensor:
        latents = (latents / self.scale + self.shift).to(self.vae.dtype)
        images: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return images

    def extra_repr(self) -> str:
        return f"scale={self.scale}, shift={self.shift}"


class Denoise(nn.Module):
    """Predict the noise eps in latents x_t, whatever the U-Net itself predicts.

    With `returns_velocity` it predicts v, from which x_0 follows even where x_t is noise alone.
    """

    supports_float8 = True
    """Nearly all of a frame's work; errors of the autoencoder would be seen as they are."""

    def __init__(
        self,
        unet: Any,
        prediction: str,
        alphas_cumprod: Tensor,
        layer_inputs: LayerInputs | None = None,
        *,
        returns_velocity: bool = False,
        residual_shapes: ResidualShapes = NO_RESIDUALS,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.residual_shapes = residual_shapes
        self.layer_inputs = layer_inputs or LayerInputs()
        self.convert = (VELOCITY_FROM if returns_velocity else NOISE_FROM)[prediction]
        self.alphas_cumprod: Tensor
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.guidance_embedding: Tensor | None
        self.register_buffer("guidance_embedding", _guidance_embedding(unet), persistent=False)

    def forward(
        self,
        x_t: Tensor,
        timesteps: Tensor,
        condition: Condition,
        steering: Steering | None = None,
    ) -> Tensor:
        """Return the noise, of the shape of `x_t`, or that and what layers left, packed."""
        self.layer_inputs.begin(steering)
        added = None
        if condition.pooled_prompt_embeds is not None:
            added = {
                "text_embeds": condition.pooled_prompt_embeds,
                "time_ids": condition.time_ids,
            }
        predicted = self.unet(
            x_t.to(self.unet.dtype),
            timesteps,
            encoder_hidden_states=condition.encoder_hidden_states,
            timestep_cond=self._timestep_cond(len(x_t)),
            added_cond_kwargs=added,
            return_dict=False,
            **unet_inputs(steering, self.residual_shapes, self.unet.dtype),
        )[0]
        alpha, beta = signal_and_noise(timesteps, self.alphas_cumprod)
        result: Tensor = self.convert(predicted.float(), x_t, alpha, beta)
        outputs = self.layer_inputs.outputs
        self.layer_inputs.begin(None)  # Nothing that a recorded call has made may be held after it.
        return packed(result, outputs) if outputs else result

    def extra_repr(self) -> str:
        return self.convert.__name__

    def _timestep_cond(self, rows: int) -> Tensor | None:
        embedding = self.guidance_embedding
        return None if embedding is None else embedding.expand(rows, -1)


def _noise_from_epsilon(predicted: Tensor, _x_t: Tensor, _alpha: Tensor, _beta: Tensor) -> Tensor:
    return predicted


def _noise_from_v(predicted: Tensor, x_t: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * predicted + beta * x_t


def _noise_from_sample(predicted: Tensor, x_t: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (x_t - alpha * predicted) / beta


def _velocity_from_v(predicted: Tensor, _x_t: Tensor, _alpha: Tensor, _beta: Tensor) -> Tensor:
    return predicted


def _velocity_from_sample(predicted: Tensor, x_t: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (alpha * x_t - predicted) / beta


NOISE_FROM = {
    "epsilon": _noise_from_epsilon,
    "v_prediction": _noise_from_v,
    "sample": _noise_from_sample,
}
"""Formulas for eps from a U-Net's prediction, by its scheduler's ``prediction_type``."""
VELOCITY_FROM = {"v_prediction": _velocity_from_v, "sample": _velocity_from_sample}
"""Formulas for v = alpha eps - beta x_0; there is none for eps that holds where alpha is 0."""


def _guidance_embedding(unet: Any) -> Tensor | None:
    """Return the embedding of the guidance scale for latent consistency models, else None."""
    if unet.config.time_cond_proj_dim is None:
        return None
    from diffusers import LatentConsistencyModelPipeline as Lcm

    # The method uses nothing of its pipeline.
    embedding: Tensor = Lcm.get_guidance_scale_embedding(
        None, torch.tensor([LCM_GUIDANCE - 1]), embedding_dim=unet.config.time_cond_proj_dim
    )
    return embedding.to(unet.device, unet.dtype)
