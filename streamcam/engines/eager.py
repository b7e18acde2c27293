"""Run stages as they are written, once their dtype has proved accurate enough."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.flat_stage import FlatForward, FlatStage


class EagerEngine:
    """An engine without files: its manifest holds the accuracy of a stage in its own dtype.

    There is nothing to build, but less than float32 must come near enough to float32.
    """

    name = "eager"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = self.weights_dtype = dtype

    def supports(self, flat: FlatStage) -> bool:
        return not flat.is_float32

    def fingerprint(self) -> Mapping[str, str]:
        return device_fingerprint(self.device)

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        pass

    def load(self, folder: Path) -> FlatForward | None:  # noqa: ARG002
        return None
