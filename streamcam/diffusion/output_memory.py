"""Memory of past outputs: each small part is averaged with the past one that is nearest to it.

The last features of all that a model has are its outputs. What flickers there and comes from the
autoencoder, which draws an edge a little differently wherever it lies in the cells of the latents,
or from the camera's noise in it, no layer of the U-Net can steady. So the features of StreamV2V
(arXiv 2405.15757, section 3.3) are here squares of the output: compared by cosine with the past
ones around their place, without optical flow, and merged into a running mean that moves along.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.diffusion.device_numbers import DeviceNumbers
from streamcam.diffusion.output_blend import fetched
from streamcam.diffusion.scene_change import SceneChange
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.settings.parameters import Parameters

HALF = 2
"""Outputs are compared at half their size: faster, and their grain does not count."""
CELL = 4
"""Side of the cells, in pixels of that size; a square is a cell with those around it, 3 by 3."""
REACH = 4
"""Pixels of that size within which a square looks for its past, in each direction."""
EVEN = 5e-3
"""Variance, of outputs in [-1, 1], that is added to each: even squares are alike."""
FARTHEST = 0.03
"""Cosine that a past square loses at the end of the reach, so that even walls stay in place."""
AREA = 5
"""Side in pixels of the square whose differences say how far a pixel matches its past."""
LUMA = (0.299, 0.587, 0.114)


class OutputMemoryInputs(NamedTuple):
    """The inputs of one call."""

    strength: Tensor
    """Scalar, 0 to 1."""
    weight: Tensor
    """Scalar: the weight of a new output in the mean that is kept, 1 / length."""
    threshold: Tensor
    """Scalar, 0 to 1: the likeness up to which parts are none of the same thing."""
    open: Tensor
    """``(f,)``: 1, or 0 where the past is another scene."""


def remembered(
    outputs: Tensor, history: Tensor, inputs: OutputMemoryInputs
) -> tuple[Tensor, Tensor]:
    """Return outputs ``(f, 3, H, W)`` moved towards their history, and the new history.

    Args:
        outputs: of one call, nominally in [-1, 1]; each remembers the one before it.
        history: ``(1, 3, H, W)`` float32, as the call before returned it.
        inputs: the live values.
    """
    frames = []
    for index, output in enumerate(torch.split(outputs.float(), 1)):
        past = fetched(history, nearest_squares(output, history))
        match = _match(output, past, inputs.threshold) * inputs.open[index]
        history = output + match * (1 - inputs.weight) * (past - output)
        frames.append(output + inputs.strength * (history - output))
    return torch.cat(frames).to(outputs.dtype), history


def nearest_squares(output: Tensor, history: Tensor) -> Tensor:
    """Find the past square nearest to each square of an output, by their cosine.

    Args:
        output: ``(1, 3, H, W)``.
        history: the same.

    Returns:
        ``(1, 2, h, w)``: how far each square has moved to the right and down, in shares of the
        width and height.
    """
    new, past = (F.avg_pool2d(_grey(image), HALF) for image in (output, history))
    cosines = _cosines(new, past)
    across, down = _peaks(cosines)
    height, width = new.shape[-2:]
    return -torch.stack([across / width, down / height]).unsqueeze(0)


def _grey(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def _cosines(new: Tensor, past: Tensor) -> Tensor:
    """Return the cosines of squares, each about its own mean.

    Args:
        new: ``(1, 1, H, W)``.
        past: the same.

    Returns:
        ``(D, D, h, w)``: of each square with the past ones within `REACH` of it, rows first.
    """
    side = 2 * REACH + 1
    padded = F.pad(past, [REACH] * 4, mode="replicate")
    product = _squares(torch.cat([_products(new, padded, down) for down in range(side)]))
    mean, power = _squares(F.avg_pool2d(torch.cat([new, new**2])[:, 0], CELL))
    # The cells of all shifted images are among those that begin at any pixel.
    cells = F.avg_pool2d(torch.cat([padded, padded**2])[:, 0], CELL, stride=1)
    windows = cells.unfold(1, side, 1).unfold(2, side, 1)[:, ::CELL, ::CELL]
    windows = windows.permute(0, 3, 4, 1, 2).flatten(1, 2)
    past_mean, past_power = _squares(windows)
    rows, columns = product.shape[-2:]
    covariance = product - mean * past_mean
    variances = (power - mean**2 + EVEN) * (past_power - past_mean**2 + EVEN)
    cosines: Tensor = (covariance + EVEN) * variances.clamp(min=EVEN**2).rsqrt()
    return cosines.reshape(side, side, rows, columns) - _distances(new.device)


def _products(new: Tensor, padded: Tensor, down: int) -> Tensor:
    """Return the means in cells of `new` times the past at all places of a row, ``(D, h, w)``.

    A row at a time stays in the processor's cache.
    """
    height, width = new.shape[-2:]
    shifted = padded[0, 0, down : down + height].unfold(1, width, 1).transpose(0, 1).contiguous()
    means: Tensor = F.avg_pool2d(shifted * new[0], CELL)
    return means


def _squares(cells: Tensor) -> Tensor:
    """Return the mean of each cell ``(…, h, w)`` and those around it."""
    rows, columns = (_neighbours(size, cells.device) for size in cells.shape[-2:])
    means: Tensor = rows @ cells @ columns.T
    return means


def _neighbours(size: int, device: torch.device) -> Tensor:
    """Return the matrix ``(size, size)`` that takes the mean of each item and its neighbours."""
    places = torch.arange(size, device=device)
    near = ((places[:, None] - places).abs() <= 1).float()
    return near / near.sum(1, keepdim=True)


def _distances(device: torch.device) -> Tensor:
    """Return what past squares lose by their distance, ``(D, D, 1, 1)``."""
    steps = torch.arange(-REACH, REACH + 1, device=device) / REACH
    return FARTHEST * (steps[:, None] ** 2 + steps**2)[..., None, None]


def _peaks(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the largest cosines are: pixels to the right and down, in parts of them."""
    side = len(cosines)
    flat = cosines.flatten(0, 1)
    best, places = flat.max(0, keepdim=True)
    down, across = places[0] // side, places[0] % side

    def finer(place: Tensor, step: int) -> Tensor:
        """Return `place` at the top of the parabola through the best cosine and its neighbours."""
        before, after = (
            flat.gather(0, (places + by).clamp(0, side**2 - 1))[0] for by in (-step, step)
        )
        bend = (before - 2 * best[0] + after).clamp(max=-1e-6)
        top = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
        is_inside = (place > 0) & (place < side - 1)
        return place - REACH + torch.where(is_inside, top, 0.0)

    return finer(across, 1), finer(down, side)


def _match(output: Tensor, past: Tensor, threshold: Tensor) -> Tensor:
    """Return how far each pixel matches its past, ``(1, 1, H, W)``, 0 to 1.

    Their likeness is 1 less the mean squared difference around them. It counts from the threshold
    on, and fully from halfway to 1, as in the layers of the U-Net.
    """
    difference = (output - past).square().mean(1, keepdim=True)
    likeness = 1 - F.avg_pool2d(difference, AREA, 1, AREA // 2, count_include_pad=False)
    match = 2 * (likeness - threshold) / (1 - threshold).clamp(min=1e-3)
    return match.clamp(0, 1)


class OutputMemory:
    """The running mean of the outputs of a stream, and the live values of the next call.

    Args:
        f: frames in a call.
        size: height and width of the outputs.
        device: of the outputs.
        keep: returns tensors, by a name, in memory that stays where recorded calls need that.
        copy: copies a CPU tensor into one on the device.
    """

    def __init__(
        self,
        f: int,
        size: tuple[int, int],
        device: torch.device,
        keep: FixedMemory,
        copy: Callable[[Tensor, Tensor], object],
    ) -> None:
        self._f = f
        self._size = size
        self._device = device
        self._keep = keep
        self._numbers = DeviceNumbers("output memory numbers", device, keep, copy)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._has_history = False
        black = torch.zeros(1, 3, *self._size, device=self._device)
        self._history: Tensor = self._keep("output history", black)

    def begin(self, parameters: Parameters, changes: Sequence[SceneChange]) -> None:
        """Prepare a call whose outputs show frames that came with these `changes`.

        Frames that only repeat the last one come with fewer changes than there are frames.
        """
        opened = [1.0] * self._f
        for index, change in enumerate(changes):
            opened[index] = float(not change.is_cut)
        if not self._has_history:
            opened[0] = 0.0
        self._has_history = True
        weight = 1 / parameters.temporal_length
        self._numbers.send(
            parameters.temporal_strength, weight, parameters.temporal_threshold, *opened
        )

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the outputs ``(f, 3, H, W)`` of a call steadied: work of the device alone."""
        strength, weight, threshold, *_ = self._numbers.tensor.unbind()
        inputs = OutputMemoryInputs(strength, weight, threshold, self._numbers.tensor[3:])
        result, newest = remembered(outputs, self._history, inputs)
        self._history = self._keep("output history", newest)
        return result
