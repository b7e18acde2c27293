"""Convolutions with nothing between them are one: the same picture in a fraction of the work.

A tiny autoencoder without blocks at full size has several in a row there, and spends half of its
time on them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fold(layers: nn.Sequential) -> nn.Sequential:
    """Return `layers` with every run of convolutions as one, where that is less work.

    An upsampling by nearest neighbours before a run is folded into it too: the one convolution
    then runs at the smaller size and makes all pixels of a block at once.
    """
    folded: list[nn.Module] = []
    rest = list(layers)
    while rest:
        run = _run(rest)
        rest = rest[max(1, len(run)) :]
        folded += run if len(_convolutions(run)) < 2 else _cheaper(run)
    return nn.Sequential(*folded)


def _run(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the convolutions that `layers` begin with, and what enlarges before them."""
    begin = 1 if _factor(layers[0]) > 1 else 0
    end = begin
    while end < len(layers) and _is_plain(layers[end]):
        end += 1
    return list(layers[: max(1, end)])


def _convolutions(run: Sequence[nn.Module]) -> list[nn.Conv2d]:
    return [layer for layer in run if isinstance(layer, nn.Conv2d)]


def _is_plain(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and len({*layer.kernel_size}) == len({*layer.stride}) == len({*layer.padding}) == 1
    )


def _factor(layer: nn.Module) -> int:
    """Return how many times larger `layer` makes a picture, 1 where it does something else."""
    if isinstance(layer, nn.Upsample) and layer.mode == "nearest":
        factor = layer.scale_factor
        return int(factor) if isinstance(factor, (int, float)) and factor == int(factor) else 1
    return 1


def _cheaper(run: list[nn.Module]) -> list[nn.Module]:
    convolutions, factor = _convolutions(run), _factor(run[0])
    if factor > 1 and any(one.stride != (1, 1) for one in convolutions):
        return run
    one = _joined(convolutions)
    inner = [one] if factor == 1 else [_within(one, factor), nn.PixelShuffle(factor)]
    if _work(_convolutions(inner)) >= _work(convolutions) * factor**2:
        return run
    return [Folded(run, inner, one, factor)]


class Folded(nn.Module):
    """A run of convolutions as one, which makes all but the rim of the picture.

    There every convolution of the run sees a border of zeros of its own, so that the rim is made
    from strips by the run itself.
    """

    def __init__(
        self, run: Sequence[nn.Module], inner: Sequence[nn.Module], one: nn.Conv2d, factor: int
    ) -> None:
        """Take the run, what makes the inner part, and the run as one after enlarging."""
        super().__init__()
        self.run = nn.Sequential(*run)
        self.inner = nn.Sequential(*inner)
        self.first, self.last = _rims(_convolutions(run))
        stride, size, padding = one.stride[0], one.kernel_size[0], int(one.padding[0])
        seen_first = (self.first - 1) * stride + size - padding
        seen_last = self.last * stride + padding
        needed = max(seen_first, seen_last if self.last else 0)
        self.strip = -(-needed // (stride * factor)) * stride
        """Of the pixels that go in: enough for the rim, and whole strides."""

    def forward(self, pictures: Tensor) -> Tensor:
        if min(pictures.shape[-2:]) < 2 * self.strip:
            whole: Tensor = self.run(pictures)
            return whole
        made = self.inner(pictures)
        first, strip = self.first, self.strip
        height, width = made.shape[-2:]
        below, right = height - self.last, width - self.last
        rows = [
            self.run(pictures[..., :strip, :])[..., :first, :],
            torch.cat(
                [
                    self.run(pictures[..., :strip])[..., first:below, :first],
                    made[..., first:below, first:right],
                    *self._end(
                        pictures[..., -strip:], (slice(first, below), slice(-self.last, None))
                    ),
                ],
                dim=-1,
            ),
            *self._end(pictures[..., -strip:, :], (slice(-self.last, None), slice(None))),
        ]
        return torch.cat(rows, dim=-2)

    def _end(self, strip: Tensor, part: tuple[slice, slice]) -> list[Tensor]:
        return [self.run(strip)[(..., *part)]] if self.last else []


def _rims(convolutions: Sequence[nn.Conv2d]) -> tuple[int, int]:
    """Return how many rows at the beginning and at the end differ if the run is made one."""
    first = last = 0
    for one in convolutions[1:]:
        size, stride, padding = one.kernel_size[0], one.stride[0], int(one.padding[0])
        first = -(-(padding + first) // stride)
        last = max(0, (size - 1 - padding - stride + last) // stride + 1)
    return first, last


def _work(convolutions: Sequence[nn.Conv2d]) -> float:
    """Return the multiplications for each pixel that goes into the first."""
    work, size = 0.0, 1.0
    for one in convolutions:
        size /= one.stride[0] ** 2
        work += size * one.weight.numel()
    return work


@torch.no_grad()
def _joined(convolutions: Sequence[nn.Conv2d]) -> nn.Conv2d:
    first, *others = convolutions
    weight, bias = first.weight.float(), _bias(first)
    stride, padding = first.stride[0], int(first.padding[0])
    for other in others:
        own = other.weight.float()
        bias = own.sum((2, 3)) @ bias + _bias(other)
        # Each tap of the later one spreads the earlier one's, a stride apart.
        weight = F.conv_transpose2d(own, weight, stride=stride)
        padding += int(other.padding[0]) * stride
        stride *= other.stride[0]
    return _convolution(weight, bias, stride, padding, like=first.weight)


@torch.no_grad()
def _within(one: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Return the convolution before enlarging that makes what `one` makes after it."""
    size, padding = one.kernel_size[0], int(one.padding[0])
    # Where each tap lands on the smaller picture, for every pixel of a block.
    lands = [[(part + tap - padding) // factor for tap in range(size)] for part in range(factor)]
    first, last = min(map(min, lands)), max(map(max, lands))
    place = torch.zeros(factor, last - first + 1, size)
    for part, taps in enumerate(lands):
        for tap, at in enumerate(taps):
            place[part, at - first, tap] = 1
    place = place.to(one.weight.device)
    weight = torch.einsum("ocij,pyi,qxj->opqcyx", one.weight.float(), place, place)
    assert one.bias is not None
    bias = one.bias.float().repeat_interleave(factor**2)
    return _convolution(weight.flatten(0, 2), bias, 1, -first, like=one.weight)


def _bias(one: nn.Conv2d) -> Tensor:
    zeros = torch.zeros(one.out_channels, device=one.weight.device)
    return zeros if one.bias is None else one.bias.float()


def _convolution(
    weight: Tensor, bias: Tensor, stride: int, padding: int, *, like: Tensor
) -> nn.Conv2d:
    made, taken, size, _ = weight.shape
    result = nn.Conv2d(taken, made, size, stride, padding, device=like.device, dtype=like.dtype)
    result.weight.copy_(weight)
    assert result.bias is not None
    result.bias.copy_(bias)
    return result.requires_grad_(False)
