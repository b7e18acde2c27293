"""TAEHV, the tiny autoencoder of video latents, as a stream (madebyollin/taehv, MIT).

Plain convolutions of single frames, apart from blocks that also take the previous frame. That frame
is kept from call to call, so a video split into calls gives the same result as in one call. Frames
are a batch ``(T, C, H, W)`` throughout.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamcam.errors import ModelError
from streamcam.video.wan_vae import TEMPORAL, Normalisation

LATENT_CHANNELS = 16
LEADING = TEMPORAL - 1
"""Frames before the first that the network makes, or takes, and a video does not have."""


class MemBlock(nn.Module):
    """Residual block over each frame together with the previous one."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * channels, out), nn.ReLU(), _conv(out, out), nn.ReLU(), _conv(out, out)
        )

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        """Return ``(T, C, H, W)`` for frames whose first follows `previous`, ``(1, C, H, W)``."""
        past = torch.cat([previous, x[:-1]])
        return F.relu(self.conv(torch.cat([x, past], 1)) + x)


class TPool(nn.Module):
    """Temporal pooling: join every `stride` frames into one."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels * stride, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.conv(x.reshape(-1, self.stride * x.shape[1], *x.shape[2:]))
        return joined


class TGrow(nn.Module):
    """Temporal growth: split every frame into `stride`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        split: Tensor = self.conv(x)
        return split.reshape(-1, *x.shape[1:])


class Clamp(nn.Module):
    """Keep latents within 3 standard deviations, smoothly."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class TAEHV(nn.Module):
    """Encoder and decoder, their layers numbered as in the published files."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 64), nn.ReLU()]
        for stride in (2, 2, 1):
            layers += [TPool(64, stride), _conv(64, 64, stride=2, bias=False)]
            layers += [MemBlock(64, 64) for _ in range(3)]
        self.encoder = nn.Sequential(*layers, _conv(64, LATENT_CHANNELS))
        layers = [Clamp(), _conv(LATENT_CHANNELS, 256), nn.ReLU()]
        for channels, out, stride in ((256, 128, 1), (128, 64, 2), (64, 64, 2)):
            layers += [MemBlock(channels, channels) for _ in range(3)]
            layers += [nn.Upsample(scale_factor=2), TGrow(channels, stride)]
            layers += [_conv(channels, out, bias=False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), _conv(64, 3))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype


def _conv(channels: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, stride=stride, bias=bias)


def load_taehv(weights: Mapping[str, Tensor], dtype: torch.dtype) -> TAEHV:
    """Return the network with its published weights.

    Raises:
        ModelError: they belong to something else.
    """
    model = TAEHV()
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ModelError(f"these are not the weights of TAEHV for Wan 2.1: {reason}") from None
    return model.to(dtype).eval().requires_grad_(False)


class StreamingHalf:
    """Encoder or decoder that keeps the last input of every `MemBlock` from call to call.

    It stays in the same memory, so that a call may be recorded as a CUDA graph.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        self._layers = layers
        self._memory: dict[int, Tensor] = {}

    def reset(self) -> None:
        """Start another video: no frame was there before."""
        for previous in self._memory.values():
            previous.zero_()

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output for the next frames ``(T, C, H, W)`` of the video."""
        for index, layer in enumerate(self._layers):
            if isinstance(layer, MemBlock):
                previous = self._memory.get(index)
                if previous is None or previous.shape[1:] != x.shape[1:]:
                    previous = self._memory[index] = x.new_zeros(1, *x.shape[1:])
                y = layer(x, previous)
                previous.copy_(x[-1:])
                x = y
            else:
                x = layer(x)
        return x


class TinyEncoder:
    """TAEHV encoder, in place of the Wan encoder.

    Args:
        model: the network.
        plain: converts its normalised latents to plain ones, where the transformer takes those.
    """

    def __init__(self, model: TAEHV, plain: Normalisation | None) -> None:
        self._stream = StreamingHalf(model.encoder)
        self._dtype = model.dtype
        self._plain = plain
        self._started = False

    @property
    def steady(self) -> bool:
        return self._started

    def reset(self) -> None:
        """Start another video."""
        self._stream.reset()
        self._started = False

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode ``(T, 3, H, W)`` in [-1, 1] to ``(f, C, h, w)`` float32."""
        if not self._started:
            # The network joins four frames in the first latent frame too.
            frames = torch.cat([frames[:1].expand(LEADING, -1, -1, -1), frames])
        self._started = True
        latents = self._stream(((frames + 1) / 2).to(self._dtype)).float()
        return self._plain.denormalise(latents) if self._plain else latents


class TinyDecoder:
    """TAEHV decoder, in place of the Wan decoder; it takes normalised latents."""

    def __init__(self, model: TAEHV) -> None:
        self._stream = StreamingHalf(model.decoder)
        self._dtype = model.dtype
        self._started = False

    @property
    def steady(self) -> bool:
        return self._started

    def reset(self) -> None:
        """Start another video."""
        self._stream.reset()
        self._started = False

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode ``(f, C, h, w)`` to ``(T, 3, H, W)`` in [-1, 1]."""
        images = self._stream(latents.to(self._dtype)).clamp(0, 1) * 2 - 1
        trimmed = images if self._started else images[LEADING:]
        self._started = True
        return trimmed
