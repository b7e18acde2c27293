"""Layers with LoRAs beside their weights: low-rank branches whose scales are read in each call.

Scales are inputs of an engine, where weights are a part of it: changing one builds nothing. The
branches of all LoRAs of a layer are stacked by their ranks, so that several cost two products as
one does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from streamcam.models.lora_updates import LINEAR, Change


class ScaleSource(Protocol):
    """Gives the scales of all LoRAs, in the order in which they were named."""

    @property
    def lora_scales(self) -> Tensor | None:
        """``(loras,)``; None for the base model."""


class LoraScales:
    """Scales that stay until they are set again."""

    def __init__(self, scales: Sequence[float], device: torch.device | None = None) -> None:
        self.lora_scales: Tensor | None = torch.tensor(scales, device=device)


class LoraLayer(nn.Module):
    """A layer that LoRAs change; see `with_branches`."""

    def __init__(self, base: nn.Module, source: ScaleSource) -> None:
        super().__init__()
        self.base = base
        self.source = source
        self.loras: tuple[int, ...] = ()
        """The numbers of its LoRAs."""
        self._kept: dict[str, tuple[int, ...]] = {}

    def _keep(self, name: str, changes: Mapping[int, Tensor]) -> None:
        self._kept[name] = tuple(changes)
        for lora, change in changes.items():
            self.register_buffer(f"{name}_{lora}", change)

    def changes(self, name: str) -> dict[int, Tensor]:
        """Return the whole changes of the weight or the bias, by the number of their LoRA."""
        return {lora: self.get_buffer(f"{name}_{lora}") for lora in self._kept[name]}

    @property
    def weight(self) -> Tensor:
        """The base model's weight, where libraries ask for its shape or dtype."""
        weight = self.base.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The base model's bias."""
        bias = self.base.bias
        assert bias is None or isinstance(bias, Tensor)
        return bias


class BranchedLayer(LoraLayer):
    """A linear layer or a convolution with branches of low rank, and others as large as itself.

    Args:
        base: of the model.
        down: ``(R, in)``, of a convolution ``(R, in, h, w)``.
        up: ``(out, R)``.
        owners: the number of the LoRA that each of the R belongs to.
        weights: changes of the weight that are not of low rank, by the number of their LoRA.
        biases: changes of the bias.
        source: gives the scales of a call.
    """

    def __init__(
        self,
        base: nn.Module,
        down: Tensor,
        up: Tensor,
        owners: Sequence[int],
        weights: Mapping[int, Tensor],
        biases: Mapping[int, Tensor],
        source: ScaleSource,
    ) -> None:
        super().__init__(base, source)
        self.loras = tuple(sorted({*owners, *weights, *biases}))
        self.down: Tensor
        self.up: Tensor
        self.owners: Tensor
        self.register_buffer("down", down)
        self.register_buffer("up", up)
        self.register_buffer("owners", torch.tensor(owners, device=up.device, dtype=torch.long))
        self.one = owners[0] if len(set(owners)) == 1 else None
        self._keep("weight", weights)
        self._keep("bias", biases)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        scales = self.source.lora_scales
        if scales is None:
            return y
        if len(self.owners):
            down = self._product(x, self.down)
            y = y + self._point_product(down * self._per_rank(scales, down), self.up)
        for lora, weight in self.changes("weight").items():
            y = y + scales[lora] * self._product(x, weight)
        for lora, bias in self.changes("bias").items():
            y = y + scales[lora] * self._per_channel(bias)
        return y

    def _per_rank(self, scales: Tensor, like: Tensor) -> Tensor:
        if self.one is not None:
            return scales[self.one]  # A number has no dtype to be converted.
        return self._per_channel(scales.index_select(0, self.owners).to(like.dtype))

    def _per_channel(self, values: Tensor) -> Tensor:
        return values[:, None, None] if isinstance(self.base, nn.Conv2d) else values

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        base = self.base
        if isinstance(base, nn.Conv2d):
            return F.conv2d(x, weight, None, base.stride, base.padding, base.dilation)
        return F.linear(x, weight)

    def _point_product(self, x: Tensor, weight: Tensor) -> Tensor:
        if isinstance(self.base, nn.Conv2d):
            return F.conv2d(x, weight[:, :, None, None])
        return F.linear(x, weight)

    def extra_repr(self) -> str:
        return f"rank={len(self.owners)}, one={self.one}, {self._kept}"


class ChangedLayer(LoraLayer):
    """Any other layer, such as a norm: its weights are added up in each call.

    Args:
        base: of the model.
        weights: changes of the weight, by the number of their LoRA.
        biases: changes of the bias.
        source: gives the scales of a call.
    """

    def __init__(
        self,
        base: nn.Module,
        weights: Mapping[int, Tensor],
        biases: Mapping[int, Tensor],
        source: ScaleSource,
    ) -> None:
        super().__init__(base, source)
        self.loras = tuple(sorted({*weights, *biases}))
        self._keep("weight", weights)
        self._keep("bias", biases)

    def forward(self, x: Tensor) -> Tensor:
        scales = self.source.lora_scales
        changed = {} if scales is None else self._changed(scales)
        base = self.base
        weight, bias = (changed.get(name, getattr(base, name, None)) for name in self._kept)
        # Engines cannot trace `functional_call`, and a U-Net has no other layers.
        if isinstance(base, nn.GroupNorm):
            return F.group_norm(x, base.num_groups, weight, bias, base.eps)
        if isinstance(base, nn.LayerNorm):
            return F.layer_norm(x, base.normalized_shape, weight, bias, base.eps)
        result: Tensor = functional_call(base, changed, x)
        return result

    def _changed(self, scales: Tensor) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        for name in self._kept:
            for lora, change in self.changes(name).items():
                value = changed.get(name, getattr(self.base, name))
                changed[name] = value + scales[lora] * change
        return changed

    def extra_repr(self) -> str:
        return str(self._kept)


def with_branches(
    layer: nn.Module, changes: Mapping[int, Change], source: ScaleSource
) -> LoraLayer:
    """Return `layer` with the `changes` of LoRAs, by their numbers, beside its own weights."""
    weights = {i: c.weight for i, c in changes.items() if c.weight is not None}
    biases = {i: c.bias for i, c in changes.items() if c.bias is not None}
    if not isinstance(layer, LINEAR):
        return ChangedLayer(layer, weights, biases, source)
    downs = {i: c.down for i, c in changes.items() if c.down is not None}
    ups = [c.up for c in changes.values() if c.up is not None]
    own = layer.weight.detach()
    down = torch.cat([own[:0], *downs.values()])
    up = torch.cat([own.flatten(1)[:, :0], *ups], dim=1)
    owners = [i for i, each in downs.items() for _ in each]
    return BranchedLayer(layer, down, up, owners, weights, biases, source)


def joined(base: nn.Linear, parts: Sequence[nn.Module]) -> nn.Module:
    """Return linear layer `base`, made of the weights of `parts` side by side, with their LoRAs."""
    branched = [part for part in parts if isinstance(part, BranchedLayer)]
    if not branched:
        return base
    none = base.weight.detach()[:0]
    ups = [
        part.up if isinstance(part, BranchedLayer) else none.new_empty(len(_weight(part)), 0)
        for part in parts
    ]
    return BranchedLayer(
        base,
        torch.cat([none, *(part.down for part in branched)]),
        torch.block_diag(*ups),  # type: ignore[no-untyped-call]
        [owner for part in branched for owner in part.owners.tolist()],
        _stacked(parts, "weight"),
        _stacked(parts, "bias"),
        branched[0].source,
    )


def _stacked(parts: Sequence[nn.Module], name: str) -> dict[int, Tensor]:
    """Return, for each LoRA that has any, its changes of all `parts` one after another."""
    kept = [part.changes(name) if isinstance(part, BranchedLayer) else {} for part in parts]
    loras = sorted({lora for changes in kept for lora in changes})
    empty = [_weight(part) if name == "weight" else _weight(part)[:, 0] for part in parts]
    return {
        lora: torch.cat(
            [
                changes.get(lora, torch.zeros_like(none))
                for changes, none in zip(kept, empty, strict=True)
            ]
        )
        for lora in loras
    }


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def lora_layers(model: nn.Module) -> Iterator[LoraLayer]:
    """Yield the layers of `model` that LoRAs change."""
    return (module for module in model.modules() if isinstance(module, LoraLayer))
