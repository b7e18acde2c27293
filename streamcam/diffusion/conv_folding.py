"""Fold consecutive convolutions into one: the same image with a fraction of the multiplications.

A tiny autoencoder without blocks at full size has several convolutions in a row there, and spends
half of its time on them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fold(layers: nn.Sequential) -> nn.Sequential:
    """Return `layers` with every run of convolutions as one, where that saves work.

    Nearest-neighbour upsampling before a run is folded into it too: the one convolution then runs
    at the smaller size and computes all pixels of a block at once.
    """
    folded: list[nn.Module] = []
    remaining = list(layers)
    while remaining:
        run = _first_run(remaining)
        remaining = remaining[max(1, len(run)) :]
        folded += run if len(_convolutions(run)) < 2 else _fold_if_cheaper(run)
    return nn.Sequential(*folded)


def _first_run(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the convolutions that `layers` begin with, and the upsampling before them."""
    begin = 1 if _upscale_factor(layers[0]) > 1 else 0
    end = begin
    while end < len(layers) and _is_foldable(layers[end]):
        end += 1
    return list(layers[: max(1, end)])


def _convolutions(run: Sequence[nn.Module]) -> list[nn.Conv2d]:
    return [layer for layer in run if isinstance(layer, nn.Conv2d)]


def _is_foldable(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and len({*layer.kernel_size}) == len({*layer.stride}) == len({*layer.padding}) == 1
    )


def _upscale_factor(layer: nn.Module) -> int:
    """Return the factor of nearest-neighbour upsampling; 1 for any other layer."""
    if isinstance(layer, nn.Upsample) and layer.mode == "nearest":
        factor = layer.scale_factor
        return int(factor) if isinstance(factor, (int, float)) and factor == int(factor) else 1
    return 1


def _fold_if_cheaper(run: list[nn.Module]) -> list[nn.Module]:
    convolutions, factor = _convolutions(run), _upscale_factor(run[0])
    if factor > 1 and any(conv.stride != (1, 1) for conv in convolutions):
        return run
    composed = _compose(convolutions)
    inner: list[nn.Module] = [composed]
    if factor > 1:
        inner = [_before_upsampling(composed, factor), nn.PixelShuffle(factor)]
    if _multiplications(_convolutions(inner)) >= _multiplications(convolutions) * factor**2:
        return run
    return [FoldedConvolutions(run, inner, composed, factor)]


class FoldedConvolutions(nn.Module):
    """A run of convolutions as one for all of the image but its border.

    At the border every convolution of the run pads with zeros of its own, so the border is
    computed from strips by the run itself.

    Args:
        run: the convolutions, and the upsampling before them if there is one.
        inner: layers that compute the image without its border.
        composed: the convolutions of the run as one.
        factor: the factor of the upsampling.
    """

    def __init__(
        self,
        run: Sequence[nn.Module],
        inner: Sequence[nn.Module],
        composed: nn.Conv2d,
        factor: int,
    ) -> None:
        super().__init__()
        self.run = nn.Sequential(*run)
        self.inner = nn.Sequential(*inner)
        self.first, self.last = _border_sizes(_convolutions(run))
        stride, size = composed.stride[0], composed.kernel_size[0]
        padding = int(composed.padding[0])
        seen_first = (self.first - 1) * stride + size - padding
        seen_last = self.last * stride + padding
        needed = max(seen_first, seen_last if self.last else 0)
        self.strip = -(-needed // (stride * factor)) * stride
        """Size of the strips in input pixels: enough for the border, in whole strides."""

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(b, C', H', W')`` for ``(b, C, H, W)``, as the run does."""
        if min(images.shape[-2:]) < 2 * self.strip:
            unfolded: Tensor = self.run(images)
            return unfolded
        inner = self.inner(images)
        first, strip = self.first, self.strip
        height, width = inner.shape[-2:]
        below, right = height - self.last, width - self.last
        rows = [
            self.run(images[..., :strip, :])[..., :first, :],
            torch.cat(
                [
                    self.run(images[..., :strip])[..., first:below, :first],
                    inner[..., first:below, first:right],
                    *self._end_border(
                        images[..., -strip:], (slice(first, below), slice(-self.last, None))
                    ),
                ],
                dim=-1,
            ),
            *self._end_border(images[..., -strip:, :], (slice(-self.last, None), slice(None))),
        ]
        return torch.cat(rows, dim=-2)

    def _end_border(self, strip: Tensor, part: tuple[slice, slice]) -> list[Tensor]:
        return [self.run(strip)[(..., *part)]] if self.last else []


def _border_sizes(convolutions: Sequence[nn.Conv2d]) -> tuple[int, int]:
    """Return the numbers of rows, at the top and at the bottom, that folding would change."""
    first = last = 0
    for conv in convolutions[1:]:
        size, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        first = -(-(padding + first) // stride)
        last = max(0, (size - 1 - padding - stride + last) // stride + 1)
    return first, last


def _multiplications(convolutions: Sequence[nn.Conv2d]) -> float:
    """Return the multiplications per input pixel."""
    total, size = 0.0, 1.0
    for conv in convolutions:
        size /= conv.stride[0] ** 2
        total += size * conv.weight.numel()
    return total


@torch.no_grad()
def _compose(convolutions: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return one convolution that equals `convolutions` in a row, but for the border."""
    first, *rest = convolutions
    weight, bias = first.weight.float(), _bias(first)
    stride, padding = first.stride[0], int(first.padding[0])
    for conv in rest:
        conv_weight = conv.weight.float()
        bias = conv_weight.sum((2, 3)) @ bias + _bias(conv)
        # Each tap of the later kernel spreads the earlier kernel, a stride apart.
        weight = F.conv_transpose2d(conv_weight, weight, stride=stride)
        padding += int(conv.padding[0]) * stride
        stride *= conv.stride[0]
    return _new_convolution(weight, bias, stride, padding, like=first.weight)


@torch.no_grad()
def _before_upsampling(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Return the convolution before upsampling that equals `conv` after it.

    Its output channels are the pixels of a block, as `nn.PixelShuffle` takes them.
    """
    size, padding = conv.kernel_size[0], int(conv.padding[0])
    # The source pixel of each tap in the smaller image, for every pixel of a block.
    sources = [[(part + tap - padding) // factor for tap in range(size)] for part in range(factor)]
    first, last = min(map(min, sources)), max(map(max, sources))
    scatter = torch.zeros(factor, last - first + 1, size)
    for part, taps in enumerate(sources):
        for tap, source in enumerate(taps):
            scatter[part, source - first, tap] = 1
    scatter = scatter.to(conv.weight.device)
    weight = torch.einsum("ocij,pyi,qxj->opqcyx", conv.weight.float(), scatter, scatter)
    assert conv.bias is not None
    bias = conv.bias.float().repeat_interleave(factor**2)
    return _new_convolution(weight.flatten(0, 2), bias, 1, -first, like=conv.weight)


def _bias(conv: nn.Conv2d) -> Tensor:
    zeros = torch.zeros(conv.out_channels, device=conv.weight.device)
    return zeros if conv.bias is None else conv.bias.float()


def _new_convolution(
    weight: Tensor, bias: Tensor, stride: int, padding: int, *, like: Tensor
) -> nn.Conv2d:
    out_channels, in_channels, size, _ = weight.shape
    result = nn.Conv2d(
        in_channels, out_channels, size, stride, padding, device=like.device, dtype=like.dtype
    )
    result.weight.copy_(weight)
    assert result.bias is not None
    result.bias.copy_(bias)
    return result.requires_grad_(False)
