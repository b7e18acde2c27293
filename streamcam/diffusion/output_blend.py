"""Blend outputs with the last one, moved with the scene: steadiness that costs next to nothing.

In pixels, not in latents: these hold the position of an edge within eight pixels as values of
their own, so that latents which are moved by a part of that, or not at all, lose its sharpness.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamcam.diffusion.scene_change import SceneChange
from streamcam.engines.fixed_memory import FixedMemory

UNLIKE = 0.2
"""Difference of outputs, in [-1, 1], from which they hardly blend: something else is there now."""
AREA = 5
"""Side in pixels of the square that this difference is averaged over."""


class BlendInputs(NamedTuple):
    """The inputs of the blending of one call."""

    weights: Tensor
    """``(f,)``: the share of the output before, 0 to 1."""
    motion: Tensor
    """``(f, 2, h, w)``: how far each part moved, in shares of the width and height."""


def blended(outputs: Tensor, last: Tensor, inputs: BlendInputs) -> tuple[Tensor, Tensor]:
    """Return outputs ``(f, 3, H, W)``, each blended with the one before, and the last of them.

    Args:
        outputs: of one call, nominally in [-1, 1].
        last: ``(1, 3, H, W)`` float32, as the call before returned it.
        inputs: the weights, and how the scene moved.
    """
    frames = []
    for index, output in enumerate(torch.split(outputs.float(), 1)):
        before = fetched(last, inputs.motion[index : index + 1])
        difference = (output - before).abs().mean(1, keepdim=True)
        difference = F.avg_pool2d(difference, AREA, 1, AREA // 2, count_include_pad=False)
        likeness = torch.exp(-((difference / UNLIKE) ** 2))
        last = torch.lerp(output, before, inputs.weights[index] * likeness)
        frames.append(last)
    return torch.cat(frames).to(outputs.dtype), last


def fetched(last: Tensor, motion: Tensor) -> Tensor:
    """Return an output ``(1, 3, H, W)`` with every part moved by its `motion` ``(1, 2, h, w)``."""
    origins = _origins(motion, *last.shape[-2:])
    return F.grid_sample(last, origins, mode="bicubic", padding_mode="border", align_corners=False)


def _origins(motion: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel came from, ``(1, H, W, 2)`` in [-1, 1]."""
    y, x = (
        (2 * torch.arange(side, device=motion.device) + 1) / side - 1 for side in (height, width)
    )
    fine = 2 * F.interpolate(motion, size=(height, width), mode="bilinear", align_corners=False)
    # By planes, and interleaved at the end: in the other order a CPU takes twice as long.
    return torch.stack([x - fine[:, 0], y[:, None] - fine[:, 1]], dim=-1)


class OutputBlend:
    """The last output of a stream, and how the scene moved until the next ones.

    Args:
        f: frames in a call.
        size: height and width of the outputs.
        still: the motion of a scene that does not move, ``(h, w, 2)``.
        device: of the outputs.
        keep: returns tensors, by a name, in memory that stays where recorded calls need that.
        copy: copies a CPU tensor into one on the device.
    """

    def __init__(
        self,
        f: int,
        size: tuple[int, int],
        still: NDArray[np.float32],
        device: torch.device,
        keep: FixedMemory,
        copy: Callable[[Tensor, Tensor], object],
    ) -> None:
        self._f = f
        self._size = size
        self._still = still
        self._device = device
        self._keep = keep
        self._copy = copy
        self.reset()

    def reset(self) -> None:
        """Forget the last output."""
        self._has_last = False
        self.is_on = False

    def begin(self, weight: float, changes: Sequence[SceneChange]) -> None:
        """Prepare a call whose outputs show frames with these `changes`; 0 to blend nothing.

        Frames that only repeat the last one come with fewer changes than there are frames.
        """
        before, self.is_on = self.is_on, weight > 0
        if not self.is_on:
            return
        self._has_last = before and self._has_last
        weights, motions = [], []
        for index in range(self._f):
            change = changes[index] if index < len(changes) else None
            is_cut = change is not None and change.is_cut
            weights.append(weight if self._has_last and not is_cut else 0.0)
            motions.append(self._still if change is None else change.motion)
            self._has_last = True
        inputs = BlendInputs(
            self._sent(torch.tensor(weights)),
            self._sent(torch.from_numpy(np.stack(motions)).permute(0, 3, 1, 2)),
        )
        self._inputs: BlendInputs = self._keep("blend", inputs)
        if not before:
            black = torch.zeros(1, 3, *self._size, device=self._device)
            self._last: Tensor = self._keep("last output", black)

    def _sent(self, values: Tensor) -> Tensor:
        new = torch.empty(values.shape, device=self._device)
        self._copy(new, values.contiguous())
        return new

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the outputs ``(f, 3, H, W)`` of a call blended: work of the device alone."""
        if not self.is_on:
            return outputs
        result, newest = blended(outputs, self._last, self._inputs)
        self._last = self._keep("last output", newest)
        return result
