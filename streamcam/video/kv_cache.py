"""The keys and values of past frames, and what happens to them beside being written."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from streamcam.video.rotary import apply_rotary, phase_angles


class LayerCache(Protocol):
    """Keys and values of some layers."""

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return those of one layer, ``(rows, slots, tokens, heads, head_dim)`` each."""


class KVCache(NamedTuple):
    """Keys (rotated) and values, ``(layers, rows, slots, tokens, heads, head_dim)`` each."""

    keys: Tensor
    values: Tensor

    def select_rows(self, first: int, last: int) -> Self:
        """Return the rows from `first` up to `last`, as views."""
        return type(self)(self.keys[:, first:last], self.values[:, first:last])

    def select_layers(self, first: int, last: int) -> Self:
        """Return the layers from `first` up to `last`, as views."""
        return type(self)(self.keys[first:last], self.values[first:last])

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, ``(rows, slots, tokens, heads, head_dim)``."""
        return self.keys[index], self.values[index]

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the row `source` to the first `rows`."""
        for tensor in self:
            for row in range(rows):
                if row != source:
                    tensor[:, row] = tensor[:, source]

    def shift_keys(self, row: int, slots: slice, shift: int) -> None:
        """Move the keys in these slots of a row by `shift` positions in time."""
        keys = self.keys[:, row, slots]
        keys.copy_(shifted_keys(keys, shift))

    def refresh_sink_tokens(
        self, row: int, slot: int, shifts: Sequence[int], threshold: float
    ) -> None:
        """Copy the frame in `slot` over the sink least like it, in the layers where it is stale.

        A sink is stale where the mean of two cosines, of keys and of values averaged over their
        tokens, is below `threshold`. Each layer decides for itself, as published, on the device;
        the frame also stays in its own slot, so the window loses nothing. `shifts` says for each
        sink by how many positions the frame's keys move there.
        """
        sink_tokens = len(shifts)
        both = [tensor[:, row] for tensor in self]
        cosines = [
            cosine_similarity(_mean(kept[:, :sink_tokens]), _mean(kept[:, slot : slot + 1]), dim=-1)
            for kept in both
        ]
        least, stalest = ((cosines[0] + cosines[1]) / 2).min(1, keepdim=True)
        stale = (torch.arange(sink_tokens, device=stalest.device) == stalest) & (least < threshold)
        key, value = (kept[:, slot : slot + 1] for kept in both)
        keys = torch.cat([shifted_keys(key, shift) if shift else key for shift in shifts], 1)
        for kept, new in zip(both, (keys, value), strict=True):
            kept[:, :sink_tokens] = torch.where(
                stale[..., None, None, None], new, kept[:, :sink_tokens]
            )


def _mean(frames: Tensor) -> Tensor:
    """Return ``(layers, slots, heads * head_dim)``: frames averaged over their tokens."""
    return frames.float().mean(2).flatten(2)


def shifted_keys(keys: Tensor, shift: int) -> Tensor:
    """Return rotated keys as if they stood `shift` latent frames later in time."""
    dims = keys.shape[-1]
    temporal = dims - 4 * (dims // 6)
    angle = phase_angles([[shift]], temporal)[0, 0].to(keys.device, torch.float32)
    moved = apply_rotary(keys[..., :temporal], angle.cos(), angle.sin())
    return torch.cat([moved, keys[..., temporal:]], -1)
