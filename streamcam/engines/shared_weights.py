"""Weights that an engine shares with the stage it was built from, instead of holding its own.

A stage's weights are in memory anyway: it runs as it is written until the engine is there. An
engine that points to them needs no memory for its own, no disk, and no time to write them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from streamcam.engines.dtypes import dtype_of, name_of
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import EngineError

LAYOUTS, OTHERS = "weights.json", "constants.safetensors"


@runtime_checkable
class SharesWeights(Protocol):
    """An engine that may run on the weights of the stage itself."""

    def load_for(self, folder: Path, flat: FlatStage) -> FlatForward | None:
        """Return a callable that runs the files in `folder` on the weights of `flat`.

        Raises:
            Exception: whatever the library raises over files that it cannot use.
        """


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape, strides and dtype of a weight that an engine was compiled for."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        return cls(tuple(tensor.shape), tuple(tensor.stride()), name_of(tensor.dtype))


_LAYOUTS = TypeAdapter(dict[str, Layout])


@dataclass(frozen=True, slots=True)
class Constants:
    """All that an engine computes with besides its inputs."""

    layouts: Mapping[str, Layout]
    """Of each parameter and buffer of the stage, by its name."""
    others: Mapping[str, Tensor]
    """Tensors that the stage makes itself, such as those of ``torch.tensor(…)`` in its code."""

    @classmethod
    def own(cls, program: ExportedProgram) -> Self:
        """Return the constants of an exported stage, which is changed: it has them as buffers.

        The compiler would number the tensors made in a stage's code again, and nothing would tell
        which is which; buffers keep their names.
        """
        lifted: dict[str, Tensor] = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind == InputKind.CONSTANT_TENSOR and spec.target is not None:
                spec.kind, spec.persistent = InputKind.BUFFER, False
                lifted[spec.target] = program.constants[spec.target]
        weights = dict(program.state_dict) | dict(program.constants)
        layouts = {name: Layout.of(each) for name, each in weights.items() if name not in lifted}
        return cls(layouts, lifted)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the constants of the engine in `folder`."""
        return cls(
            _LAYOUTS.validate_json((folder / LAYOUTS).read_bytes()), load_file(folder / OTHERS)
        )

    def save(self, folder: Path) -> None:
        """Write them next to an engine, of the weights their layouts only."""
        (folder / LAYOUTS).write_bytes(_LAYOUTS.dump_json(dict(self.layouts)))
        others = {name: each.detach().cpu().contiguous() for name, each in self.others.items()}
        save_file(others, folder / OTHERS)

    def on(self, flat: FlatStage, device: torch.device) -> dict[str, Tensor]:
        """Return the tensors to compute with, by name: those of `flat` as they lie in memory.

        One that lies there otherwise than the engine was compiled for is copied.

        Raises:
            EngineError: `flat` has another weight than the engine was built from.
        """
        own = dict(flat.named_parameters(remove_duplicate=False)) | dict(
            flat.named_buffers(remove_duplicate=False)
        )
        tensors = {name: each.to(device) for name, each in self.others.items()}
        for name, layout in self.layouts.items():
            weight = own.get(name)
            if weight is None or tuple(weight.shape) != layout.shape:
                raise EngineError(f"it was built from a stage with another {name}")
            tensors[name] = weight.detach()
            if Layout.of(weight) != layout:
                tensors[name] = _copied(weight, layout)
        return tensors


def _copied(weight: Tensor, layout: Layout) -> Tensor:
    copy = torch.empty_strided(
        layout.shape, layout.strides, dtype=dtype_of(layout.dtype), device=weight.device
    )
    return copy.copy_(weight.detach())
