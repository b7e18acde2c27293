"""Wan autoencoder as a stream: its feature caches of past frames are kept from call to call.

Its convolutions look back two frames. The first latent frame is one frame, every later one is four,
however the calls are split: a video in several calls gives the same result as in one.
"""

from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

TEMPORAL = 4
"""Frames in every latent frame but the first."""
SPATIAL = 8
"""Pixels along the side of a latent pixel."""


class Encoder(Protocol):
    """Encodes frames to the latents that the transformer was trained on, from chunk to chunk."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode ``(T, 3, H, W)`` in [-1, 1] to ``(f, C, h, w)`` float32.

        T is 4 f, and for the first call 4 f - 3.
        """

    def reset(self) -> None:
        """Start another video."""


class Decoder(Protocol):
    """Decodes denoised latents to images, from chunk to chunk."""

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode ``(f, C, h, w)`` to ``(T, 3, H, W)`` in [-1, 1], T as in `Encoder`."""

    def reset(self) -> None:
        """Start another video."""


class Normalisation:
    """Conversion of the autoencoder's latents to zero mean and unit variance, and back."""

    def __init__(self, vae: Any) -> None:
        shape, device = (-1, 1, 1), vae.device
        self.mean = torch.tensor(vae.config.latents_mean, device=device).reshape(shape)
        self.std = torch.tensor(vae.config.latents_std, device=device).reshape(shape)

    def normalise(self, latents: Tensor) -> Tensor:
        """Return normalised latents."""
        return (latents - self.mean) / self.std

    def denormalise(self, latents: Tensor) -> Tensor:
        """Return the latents that the autoencoder takes."""
        return latents * self.std + self.mean


class WanEncoder:
    """Encoder of an `AutoencoderKLWan`, from chunk to chunk.

    Args:
        vae: the autoencoder.
        normalised: whether its transformer takes normalised latents. StreamDiffusionV2 was
            trained on plain ones, though its output is normalised.
    """

    def __init__(self, vae: Any, *, normalised: bool) -> None:
        self._vae = vae
        self._normalise = Normalisation(vae).normalise if normalised else None
        self.reset()

    def reset(self) -> None:
        """Start another video."""
        self._feat_cache: list[Any] = [None] * self._vae._cached_conv_counts["encoder"]
        self._started = False

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode ``(T, 3, H, W)`` in [-1, 1] to ``(f, C, h, w)`` float32."""
        video = frames.transpose(0, 1)[None].to(self._vae.dtype)
        bounds = [*range(0 if self._started else 1, len(frames) + 1, TEMPORAL)]
        groups = pairwise(bounds if self._started else [0, *bounds])
        self._started = True
        moments = [
            self._vae.encoder(video[:, :, a:b], feat_cache=self._feat_cache, feat_idx=[0])
            for a, b in groups
        ]
        mean, _ = self._vae.quant_conv(torch.cat(moments, 2)).chunk(2, 1)
        latents: Tensor = mean[0].transpose(0, 1).float()
        return self._normalise(latents) if self._normalise else latents


class WanDecoder:
    """Decoder of an `AutoencoderKLWan`, from chunk to chunk; it takes normalised latents."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._normalisation = Normalisation(vae)
        self.reset()

    def reset(self) -> None:
        """Start another video."""
        self._feat_cache: list[Any] = [None] * self._vae._cached_conv_counts["decoder"]
        self._started = False

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode ``(f, C, h, w)`` to ``(T, 3, H, W)`` in [-1, 1]."""
        plain = self._normalisation.denormalise(latents).to(self._vae.dtype)
        video = self._vae.post_quant_conv(plain.transpose(0, 1)[None])
        decoded = []
        for i in range(video.shape[2]):
            first = not self._started
            self._started = True
            decoded.append(
                self._vae.decoder(
                    video[:, :, i : i + 1],
                    feat_cache=self._feat_cache,
                    feat_idx=[0],
                    first_chunk=first,
                )
            )
        images: Tensor = torch.cat(decoded, 2)[0].transpose(0, 1).clamp(-1, 1)
        return images
