"""The stage as it is written: nothing to build, but less than float32 must earn its place."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcam.engines.device_info import about
from streamcam.engines.flat_stage import Flat, Run


class Eager:
    """Runs stages as they are written; its files are none, its manifest is how near they come."""

    name = "eager"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = self.weights = dtype

    def takes(self, flat: Flat) -> bool:
        return not flat.is_exact

    def about(self) -> Mapping[str, str]:
        return about(self.device)

    def build(self, flat: Flat, inputs: Sequence[Tensor], folder: Path) -> None:
        pass

    def load(self, folder: Path) -> Run | None:  # noqa: ARG002
        return None
