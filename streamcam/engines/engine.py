"""Engine: the protocol of a compiler that builds a stage into files, and runs it from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from streamcam.engines.flat_stage import FlatForward, FlatStage


class Engine(Protocol):
    """Builds stages into files made for one machine, and loads them as callables."""

    name: str
    dtype: torch.dtype
    """The dtype that it computes in."""
    weights_dtype: torch.dtype
    """The dtype that the weights of a stage must have when they are handed to it."""

    def supports(self, flat: FlatStage) -> bool:
        """Return whether the engine is meant for this stage."""

    def fingerprint(self) -> Mapping[str, str]:
        """Return the facts of the machine and the libraries that the engine's files depend on."""

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        """Write the files of `flat` for the shapes and dtypes of `inputs` into `folder`.

        Raises:
            Exception: whatever the library raises over what it cannot build.
        """

    def load(self, folder: Path) -> FlatForward | None:
        """Return a callable that runs the files in `folder`, None to run the stage itself.

        The callable keeps no reference to the tensors that it returns. On a GPU it only launches
        kernels on the current stream, without waiting for them: the whole frame is recorded as a
        CUDA graph, in which this call is one part.

        Raises:
            Exception: whatever the library raises over files that it cannot use.
        """
