"""What an engine is: it builds a stage into files, and runs a stage from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from streamcam.engines.flat_stage import Flat, Run


class Engine(Protocol):
    """Turns stages into files made for one machine, and those into something to call."""

    name: str
    dtype: torch.dtype
    """The number format that it computes in."""
    weights: torch.dtype
    """The number format that it takes a stage in."""

    def takes(self, flat: Flat) -> bool:
        """Return whether `flat` is a stage for it."""

    def about(self) -> Mapping[str, str]:
        """Return what of the machine and the libraries an engine's files depend on."""

    def build(self, flat: Flat, inputs: Sequence[Tensor], folder: Path) -> None:
        """Write the files of `flat` for the shapes and dtypes of `inputs` into `folder`.

        Raises:
            Exception: whatever the library raises over what it cannot build.
        """

    def load(self, folder: Path) -> Run | None:
        """Return what runs the files in `folder`, None where that is the stage itself.

        What it returns keeps no hold on the tensors it gives.

        Raises:
            Exception: whatever the library raises over files that it cannot use.
        """
