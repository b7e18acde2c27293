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

    @property
    def steady(self) -> bool:
        """Whether calls differ in their frames alone and work in the same memory from now on."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode ``(T, 3, H, W)`` in [-1, 1] to ``(f, C, h, w)`` float32.

        T is 4 f, and for the first call 4 f - 3.
        """

    def reset(self) -> None:
        """Start another video."""


class Decoder(Protocol):
    """Decodes denoised latents to images, from chunk to chunk."""

    @property
    def steady(self) -> bool:
        """Whether calls differ in their latents alone and work in the same memory from now on."""

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


class FeatureCache:
    """Features of past frames, one entry for each convolution that looks back.

    Args:
        count: of the convolutions.
        in_place: whether entries of a shape always stay in the same memory, for calls that are
            recorded as CUDA graphs.
    """

    def __init__(self, count: int, *, in_place: bool) -> None:
        self.entries: list[Any] = [None] * count
        """None at first; the network replaces them in every call."""
        self._in_place = in_place
        self._memory: dict[tuple[int, torch.Size], Tensor] = {}
        self._shapes: list[torch.Size | None] = []
        self.steady = False
        """Whether the last call left all of them as it found them but for the values."""

    def reset(self) -> None:
        """Start another video."""
        self.entries = [None] * len(self.entries)
        self._shapes, self.steady = [], False

    def end_call(self) -> None:
        """Copy the entries to their memory, after a call of the network."""
        if not self._in_place:
            return
        for i, entry in enumerate(self.entries):
            if isinstance(entry, Tensor):
                place = (i, entry.shape)
                if place not in self._memory:
                    self._memory[place] = torch.empty_like(entry)
                self.entries[i] = self._memory[place].copy_(entry)
        shapes = [entry.shape if isinstance(entry, Tensor) else None for entry in self.entries]
        self._shapes, self.steady = shapes, shapes == self._shapes


class WanEncoder:
    """Encoder of an `AutoencoderKLWan`, from chunk to chunk.

    Args:
        vae: the autoencoder.
        normalised: whether its transformer takes normalised latents. StreamDiffusionV2 was
            trained on plain ones, though its output is normalised.
        in_place: as in `FeatureCache`.
    """

    def __init__(self, vae: Any, *, normalised: bool, in_place: bool = False) -> None:
        self._vae = vae
        self._normalise = Normalisation(vae).normalise if normalised else None
        self._cache = FeatureCache(vae._cached_conv_counts["encoder"], in_place=in_place)
        self._started = False

    @property
    def steady(self) -> bool:
        return self._cache.steady

    def reset(self) -> None:
        """Start another video."""
        self._cache.reset()
        self._started = False

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode ``(T, 3, H, W)`` in [-1, 1] to ``(f, C, h, w)`` float32."""
        video = frames.transpose(0, 1)[None].to(self._vae.dtype)
        bounds = [*range(0 if self._started else 1, len(frames) + 1, TEMPORAL)]
        groups = pairwise(bounds if self._started else [0, *bounds])
        self._started = True
        moments = [
            self._vae.encoder(video[:, :, a:b], feat_cache=self._cache.entries, feat_idx=[0])
            for a, b in groups
        ]
        self._cache.end_call()
        mean, _ = self._vae.quant_conv(torch.cat(moments, 2)).chunk(2, 1)
        latents: Tensor = mean[0].transpose(0, 1).float()
        return self._normalise(latents) if self._normalise else latents


class WanDecoder:
    """Decoder of an `AutoencoderKLWan`, from chunk to chunk; it takes normalised latents.

    Args:
        vae: the autoencoder.
        in_place: as in `FeatureCache`.
    """

    def __init__(self, vae: Any, *, in_place: bool = False) -> None:
        self._vae = vae
        self._normalisation = Normalisation(vae)
        self._cache = FeatureCache(vae._cached_conv_counts["decoder"], in_place=in_place)
        self._started = False

    @property
    def steady(self) -> bool:
        return self._cache.steady

    def reset(self) -> None:
        """Start another video."""
        self._cache.reset()
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
                    feat_cache=self._cache.entries,
                    feat_idx=[0],
                    first_chunk=first,
                )
            )
        self._cache.end_call()
        images: Tensor = torch.cat(decoded, 2)[0].transpose(0, 1).clamp(-1, 1)
        return images
