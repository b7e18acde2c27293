"""Numbers of the CPU that the next calls on the device are to be made with."""

from collections.abc import Callable

import torch
from torch import Tensor

from streamcam.engines.fixed_memory import FixedMemory


class DeviceNumbers:
    """A few numbers on the device, sent there only when they have changed.

    Args:
        name: of them, in `keep`.
        device: that they are sent to.
        keep: returns a tensor, by a name, in memory that stays where recorded calls need that.
        copy: copies a CPU tensor into one on the device.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        keep: FixedMemory,
        copy: Callable[[Tensor, Tensor], object],
    ) -> None:
        self._name, self._device, self._keep, self._copy = name, device, keep, copy
        self._numbers: tuple[float, ...] = ()

    def send(self, *numbers: float) -> None:
        """Let `tensor` hold these numbers, as many as ever."""
        if numbers != self._numbers:
            self._numbers = numbers
            new = torch.empty(len(numbers), device=self._device)
            self._copy(new, torch.tensor(numbers))
            self.tensor: Tensor = self._keep(self._name, new)
