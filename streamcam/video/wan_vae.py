"""The Wan autoencoder as a stream: what it remembers of past frames is kept from call to call.

Its convolutions look back two frames. The first latent frame is one picture, every later one is
four, however the calls are cut: cut up, a video gives what it gives whole.
"""

from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

TEMPORAL = 4
"""Pictures in every latent frame but the first."""
SPATIAL = 8
"""Pixels along the side of a latent."""


class Encoder(Protocol):
    """Pictures to the latents that the transformer was trained on."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return ``(f, C, h, w)`` float32 of ``(T, 3, H, W)`` in [-1, 1].

        T is 4 f, and for the first call 4 f - 3.
        """

    def reset(self) -> None:
        """Begin another video."""


class Decoder(Protocol):
    """Denoised latents to pictures."""

    def __call__(self, latents: Tensor) -> Tensor:
        """Return ``(T, 3, H, W)`` in [-1, 1] of ``(f, C, h, w)``, T as in `Encoder`."""

    def reset(self) -> None:
        """Begin another video."""


class Normalisation:
    """What takes the autoencoder's latents to zero mean and unit variance, and back."""

    def __init__(self, vae: Any) -> None:
        shape, device = (-1, 1, 1), vae.device
        self.mean = torch.tensor(vae.config.latents_mean, device=device).reshape(shape)
        self.std = torch.tensor(vae.config.latents_std, device=device).reshape(shape)

    def to(self, latents: Tensor) -> Tensor:
        """Return normalised latents."""
        return (latents - self.mean) / self.std

    def back(self, latents: Tensor) -> Tensor:
        """Return the autoencoder's own latents."""
        return latents * self.std + self.mean


class WanEncoder:
    """The encoder of an `AutoencoderKLWan`, from chunk to chunk.

    Args:
        vae: the autoencoder.
        normalised: whether its transformer takes normalised latents. StreamDiffusionV2 was
            trained on plain ones, though what it gives is normalised.
    """

    def __init__(self, vae: Any, *, normalised: bool) -> None:
        self._vae = vae
        self._normalise = Normalisation(vae).to if normalised else None
        self.reset()

    def reset(self) -> None:
        """Begin another video."""
        self._remembered: list[Any] = [None] * self._vae._cached_conv_counts["encoder"]
        self._begun = False

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return ``(f, C, h, w)`` float32 of ``(T, 3, H, W)`` in [-1, 1]."""
        video = pictures.transpose(0, 1)[None].to(self._vae.dtype)
        cuts = [*range(0 if self._begun else 1, len(pictures) + 1, TEMPORAL)]
        groups = pairwise(cuts if self._begun else [0, *cuts])
        self._begun = True
        made = [
            self._vae.encoder(video[:, :, a:b], feat_cache=self._remembered, feat_idx=[0])
            for a, b in groups
        ]
        mean, _ = self._vae.quant_conv(torch.cat(made, 2)).chunk(2, 1)
        latents: Tensor = mean[0].transpose(0, 1).float()
        return self._normalise(latents) if self._normalise else latents


class WanDecoder:
    """The decoder of an `AutoencoderKLWan`, from chunk to chunk; it takes normalised latents."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._normalisation = Normalisation(vae)
        self.reset()

    def reset(self) -> None:
        """Begin another video."""
        self._remembered: list[Any] = [None] * self._vae._cached_conv_counts["decoder"]
        self._begun = False

    def __call__(self, latents: Tensor) -> Tensor:
        """Return ``(T, 3, H, W)`` in [-1, 1] of ``(f, C, h, w)``."""
        own = self._normalisation.back(latents).to(self._vae.dtype)
        video = self._vae.post_quant_conv(own.transpose(0, 1)[None])
        made = []
        for i in range(video.shape[2]):
            first = not self._begun
            self._begun = True
            made.append(
                self._vae.decoder(
                    video[:, :, i : i + 1],
                    feat_cache=self._remembered,
                    feat_idx=[0],
                    first_chunk=first,
                )
            )
        pictures: Tensor = torch.cat(made, 2)[0].transpose(0, 1).clamp(-1, 1)
        return pictures
