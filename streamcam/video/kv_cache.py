"""KV cache of past latent frames: views, copies, shifted positions, refreshed sink tokens."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from streamcam.video.rotary import apply_rotary, phase_angles


class LayerCache(Protocol):
    """Keys and values, layer by layer."""

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, ``(rows, slots, tokens, heads, head_dim)`` each."""


class KVCache(NamedTuple):
    """Rotated keys and values, ``(layers, rows, slots, tokens, heads, head_dim)`` each."""

    keys: Tensor
    values: Tensor

    def select_rows(self, first: int, last: int) -> Self:
        """Return the rows from `first` up to `last`, as views."""
        return type(self)(self.keys[:, first:last], self.values[:, first:last])

    def select_layers(self, first: int, last: int) -> Self:
        """Return the layers from `first` up to `last`, as views."""
        return type(self)(self.keys[first:last], self.values[first:last])

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, ``(rows, slots, tokens, heads, head_dim)`` each."""
        return self.keys[index], self.values[index]

    def copy_row(self, source: int, rows: int) -> None:
        """Copy row `source` to the first `rows`."""
        for tensor in self:
            for row in range(rows):
                if row != source:
                    tensor[:, row] = tensor[:, source]

    def shift_keys(self, row: int, slots: slice, shift: int) -> None:
        """Shift the keys in these slots of a row by `shift` temporal positions."""
        keys = self.keys[:, row, slots]
        keys.copy_(shifted_keys(keys, shift))

    def refresh_sink_tokens(
        self, row: int, slot: int, shifts: Sequence[int], threshold: float
    ) -> None:
        """Replace the sink token least like the frame in `slot` by it, in layers where it is stale.

        A sink token is stale where the mean of two cosine similarities, of keys and of values
        averaged over their tokens, is below `threshold`. Each layer decides for itself, as
        published, on the device; the frame also stays in its own slot, so the window loses nothing.

        Args:
            row: of the cache.
            slot: of the new frame.
            shifts: for each sink token, the positions by which the frame's keys shift there.
            threshold: from -1, for never, to 1.
        """
        count = len(shifts)
        row_cache = [tensor[:, row] for tensor in self]  # (layers, slots, tokens, heads, head_dim)
        similarities = [
            cosine_similarity(_mean(tensor[:, :count]), _mean(tensor[:, slot : slot + 1]), dim=-1)
            for tensor in row_cache
        ]  # (layers, sink tokens) each
        lowest, index = ((similarities[0] + similarities[1]) / 2).min(1, keepdim=True)
        stale = (torch.arange(count, device=index.device) == index) & (lowest < threshold)
        key, value = (tensor[:, slot : slot + 1] for tensor in row_cache)
        keys = torch.cat([shifted_keys(key, shift) if shift else key for shift in shifts], 1)
        for tensor, new in zip(row_cache, (keys, value), strict=True):
            tensor[:, :count] = torch.where(stale[..., None, None, None], new, tensor[:, :count])


def _mean(frames: Tensor) -> Tensor:
    """Return ``(layers, slots, heads * head_dim)``: frames averaged over their tokens."""
    return frames.float().mean(2).flatten(2)


def shifted_keys(keys: Tensor, shift: int) -> Tensor:
    """Return rotated keys, ``(…, head_dim)``, as if they stood `shift` latent frames later."""
    head_dim = keys.shape[-1]
    temporal = head_dim - 4 * (head_dim // 6)
    angle = phase_angles([[shift]], temporal)[0, 0].to(keys.device, torch.float32)
    shifted = apply_rotary(keys[..., :temporal], angle.cos(), angle.sin())
    return torch.cat([shifted, keys[..., temporal:]], -1)
