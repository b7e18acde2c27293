"""Adapt a stage to engines: plain tensors one after another, in shapes that never change."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

Stage = Callable[..., Tensor]
"""Takes the arguments of a call as the model has them: tensors, and tuples of tensors and None."""
FlatForward = Callable[..., Tensor]
"""Takes the tensors of a call one after another, without those that are None."""
Signature = tuple[tuple[torch.Size, torch.dtype] | None, ...]
"""The shape and the dtype of every tensor of a call, None where there is none."""


Call = Sequence[Tensor]
"""The tensors of a call of a stage, one after another, as a `FlatForward` takes them."""


class Samples(NamedTuple):
    """Calls of one stage with images, prompts and timesteps as they are used."""

    calibration: Sequence[Call]
    """To measure ranges on."""
    held_out: Sequence[Call]
    """To measure accuracy on: other images, other prompts."""


class Rehearsal(Protocol):
    """A stream that runs as it is written, in float32, before anything is on air."""

    def samples(self, stage: nn.Module) -> Samples:
        """Return the calls of `stage`."""

    def image_psnr(self, stage: nn.Module, run: FlatForward) -> float:
        """Return the PSNR in dB of the final images with `stage` replaced by `run`.

        The least of the held-out images, against the same images without any replacement.
        Replacements accepted before stay in place.
        """

    def accept(self, stage: nn.Module, run: FlatForward) -> None:
        """Replace `stage` by `run` from now on."""


class FlatStage(nn.Module):
    """A stage that takes its tensors flat: out of their tuples, without those that are None."""

    def __init__(
        self,
        stage: nn.Module,
        structure: TreeSpec,
        present: Sequence[bool],
        rehearsal: Rehearsal | None = None,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.rehearsal = rehearsal
        self._structure = structure
        self._present = list(present)

    @property
    def is_float32(self) -> bool:
        """Whether all weights are in float32."""
        return all(p.dtype == torch.float32 for p in self.parameters() if p.is_floating_point())

    def with_stage(self, stage: nn.Module) -> "FlatStage":
        """Return `stage`, taking its tensors as this one does."""
        return FlatStage(stage, self._structure, self._present, self.rehearsal)

    def in_float32(self) -> FlatForward:
        """Return this stage in float32: itself, or a copy where its weights have another dtype.

        The result takes floating-point inputs of any dtype.
        """
        with torch.inference_mode(False), torch.no_grad():
            stage = self.stage if self.is_float32 else copy.deepcopy(self.stage).float()
        flat = self.with_stage(stage)

        def run(*tensors: Tensor) -> Tensor:
            result: Tensor = flat(*(t.float() if t.is_floating_point() else t for t in tensors))
            return result

        return run

    def in_float32_on_cpu(self) -> FlatForward:
        """Return this stage in float32 on the CPU, wherever it is; slow, and little memory there.

        The result takes and returns tensors of any device, and copies them.
        """
        weights = {
            name: each.detach().cpu().float() if each.is_floating_point() else each.cpu()
            for name, each in (*self.named_parameters(), *self.named_buffers())
        }

        def run(*tensors: Tensor) -> Tensor:
            plain = (t.cpu().float() if t.is_floating_point() else t.cpu() for t in tensors)
            with torch.no_grad():
                result: Tensor = functional_call(self, weights, tuple(plain))
            return result

        return run

    def forward(self, *tensors: Tensor) -> Tensor:
        remaining = iter(tensors)
        leaves = [next(remaining) if present else None for present in self._present]
        result: Tensor = self.stage(*tree_unflatten(leaves, self._structure))
        return result


def flatten_args(args: tuple[Any, ...]) -> tuple[list[Tensor], Signature, TreeSpec]:
    """Return the tensors in `args`, the signature of the call, and the structure of `args`."""
    leaves, structure = tree_flatten(args)
    signature = tuple(None if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves)
    return [leaf for leaf in leaves if leaf is not None], signature, structure
