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
    sink_frames: Tensor
    """``(layers, rows, sink tokens)`` int64: the frame that each layer holds as a sink token."""

    def select_rows(self, first: int, last: int) -> Self:
        """Return the rows from `first` up to `last`, as views."""
        return type(self)(*(tensor[:, first:last] for tensor in self))

    def select_layers(self, first: int, last: int) -> Self:
        """Return the layers from `first` up to `last`, as views."""
        return type(self)(*(tensor[first:last] for tensor in self))

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, ``(rows, slots, tokens, heads, head_dim)`` each."""
        return self.keys[index], self.values[index]

    def reset(self) -> None:
        """Begin a video: its first frames become the sink tokens."""
        count = self.sink_frames.shape[2]
        self.sink_frames.copy_(torch.arange(count, device=self.sink_frames.device))

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
        self, row: int, slot: Tensor, frame: Tensor, shifts: Sequence[int], threshold: float
    ) -> None:
        """Replace the sink token least like the frame in `slot` by it, in layers where it is stale.

        A sink token is stale where the mean of two cosine similarities, of keys and of values
        averaged over their tokens, is below `threshold`. Each layer decides for itself, as
        published, on the device; the frame also stays in its own slot, so the window loses nothing.

        Args:
            row: of the cache.
            slot: ``(1,)`` int64: that of the new frame.
            frame: ``()`` int64: its number.
            shifts: for each sink token, the positions by which the frame's keys shift there.
            threshold: from -1, for never, to 1.
        """
        count = len(shifts)
        # (layers, slots, tokens, heads, head_dim) each
        row_cache = [self.keys[:, row], self.values[:, row]]
        key, value = (tensor.index_select(1, slot) for tensor in row_cache)
        similarities = [
            cosine_similarity(_mean(tensor[:, :count]), _mean(new), dim=-1)
            for tensor, new in zip(row_cache, (key, value), strict=True)
        ]  # (layers, sink tokens) each
        lowest, index = ((similarities[0] + similarities[1]) / 2).min(1, keepdim=True)
        stale = (torch.arange(count, device=index.device) == index) & (lowest < threshold)
        keys = torch.cat([shifted_keys(key, shift) if shift else key for shift in shifts], 1)
        for tensor, new in zip(row_cache, (keys, value), strict=True):
            tensor[:, :count] = torch.where(stale[..., None, None, None], new, tensor[:, :count])
        frames = self.sink_frames[:, row]
        frames.copy_(torch.where(stale, frame, frames))

    def clone_sink_tokens(self, row: int) -> list[Tensor]:
        """Return copies of the keys and values of the sink tokens of a row."""
        count = self.sink_frames.shape[2]
        return [tensor[:, row, :count].clone() for tensor in (self.keys, self.values)]

    def restore_sink_tokens(self, row: int, clones: Sequence[Tensor]) -> None:
        """Put back the sink tokens that are no longer first frames, in each layer.

        Args:
            row: of the cache.
            clones: from `clone_sink_tokens`, before the first frames were written once more.
        """
        frames = self.sink_frames[:, row]
        first = frames == torch.arange(frames.shape[1], device=frames.device)
        for tensor, old in zip((self.keys, self.values), clones, strict=True):
            sink_tokens = tensor[:, row, : frames.shape[1]]
            sink_tokens.copy_(torch.where(first[..., None, None, None], sink_tokens, old))

    def copy_to_sink_tokens(self, row: int, slot: int, frame: int, shifts: Sequence[int]) -> None:
        """Copy the frame in `slot` to the sink tokens that it has replaced, in each layer.

        Args:
            row: of the cache.
            slot: of the frame.
            frame: its number.
            shifts: for each sink token, the positions by which the frame's keys shift there.
        """
        held = (self.sink_frames[:, row] == frame)[..., None, None, None]
        key, value = self.keys[:, row, slot], self.values[:, row, slot]
        for sink, shift in enumerate(shifts):
            shifted = shifted_keys(key, shift) if shift else key
            for tensor, new in ((self.keys, shifted), (self.values, value)):
                sink_token = tensor[:, row, sink]
                sink_token.copy_(torch.where(held[:, sink], new, sink_token))


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
