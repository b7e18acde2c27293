"""Noise that moves with the scene, so that what is drawn from it stays on things."""

from collections.abc import Sequence
from math import floor, hypot

import torch
from torch import Tensor

from streamcam.diffusion.stream_batch import Noise

Shift = tuple[float, float]
"""To the right and down, in shares of the width and height."""
AT_REST = (0.0, 0.0)


class NoiseShift:
    """Distance that the noise of each step has moved: that of the scene of the frames at that step.

    Args:
        steps: denoising steps n.
        batch: whether row i holds frames that came i calls ago; otherwise all steps are of one.
    """

    def __init__(self, steps: int, *, batch: bool) -> None:
        self._steps = steps
        self._batch = batch
        self.reset()

    def reset(self) -> None:
        """Put the noise back to where it was drawn."""
        self._shifts: list[Shift] = [AT_REST] * self._steps

    @property
    def is_at_rest(self) -> bool:
        """Whether the noise is where it was drawn."""
        return all(shift == AT_REST for shift in self._shifts)

    def begin(self, steps: Sequence[Shift]) -> None:
        """Take how far the scene moved from frame to frame until those of a new call.

        The frames of one call share its noise: it moves as far as the last of them.
        """
        right = self._shifts[0][0] + sum(step[0] for step in steps)
        down = self._shifts[0][1] + sum(step[1] for step in steps)
        newest = (right % 1.0, down % 1.0)
        older = self._shifts[:-1] if self._batch else [newest] * (self._steps - 1)
        self._shifts = [newest, *older]

    def __call__(self, noise: Noise) -> Noise:
        """Return noise ``(n, 1, C, h, w)`` where the scene is now."""
        if self.is_at_rest:
            return noise
        added, stock = (
            torch.stack([shifted(row, s) for row, s in zip(part, self._shifts, strict=True)])
            for part in noise
        )
        return Noise(added, stock)


def shifted(noise: Tensor, shift: Shift) -> Tensor:
    """Return noise ``(…, h, w)`` moved to the right and down; what leaves it comes in opposite.

    Between two places it is mixed from both, and keeps its variance.
    """
    for dim, share in ((-1, shift[0]), (-2, shift[1])):
        distance = share * noise.shape[dim]
        whole = floor(distance)
        part = distance - whole
        near, far = noise.roll(whole, dim), noise.roll(whole + 1, dim)
        noise = ((1 - part) * near + part * far) / hypot(1 - part, part)
    return noise
