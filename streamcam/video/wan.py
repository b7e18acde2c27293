"""Causal Wan: diffusers' own transformer, run chunk by chunk over a cache of keys and values.

A chunk of f latent frames attends to itself and to the frames whose keys and values are kept
(StreamDiffusionV2, arXiv 2511.07399, section 4). There is no causal mask: what comes later is not
there yet. Keys are kept rotated, so a frame keeps the position it was written with.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.video.cached_attention import (
    AttentionContext,
    CachedCrossAttention,
    CachedSelfAttention,
)
from streamcam.video.kv_cache import KVCache, LayerCache
from streamcam.video.rotary import Rows, phase_angles, sinusoid, spatial_rotary


class Chunk(NamedTuple):
    """Where the frames of one call stand: for every row the same number f of frames."""

    time: Tensor
    """``(rows, f, freq_dim)`` float32 sinusoids of the timesteps; 1 for f where all are alike."""
    cos: Tensor
    """``(rows, f, t / 2)`` float32: the temporal part of the rotation."""
    sin: Tensor
    write: Tensor
    """``(rows * f,)`` int64: the slots that take the frames, counted through all rows."""
    mask: Tensor | None
    """Bool, to broadcast over ``(rows, heads, f * tokens, slots * tokens)``: what may be seen."""


class CausalWan(nn.Module):
    """The layers of a Wan transformer that this process has: all of them, or a run of them.

    Args:
        transformer: a `WanTransformer3DModel` that holds these layers.
        size: height and width of the latents.
        start: the number of its first layer in the whole model.
        first: whether the latents enter here; else tokens do.
        last: whether the flow leaves here; else tokens do.
    """

    def __init__(
        self,
        transformer: Any,
        size: tuple[int, int],
        *,
        start: int = 0,
        first: bool = True,
        last: bool = True,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.first, self.last = first, last
        self._compiled: Callable[[Any], Any] | None = None
        self._compiled_rows: frozenset[int] = frozenset()
        self._steady: dict[int, Any] = {}
        self._blocks: dict[int, Any] = {}
        self.take(start, transformer.blocks)
        _, tall, wide = transformer.config.patch_size
        self.grid = (size[0] // tall, size[1] // wide)
        spatial = 2 * (transformer.config.attention_head_dim // 6)
        self._spatial_dims = spatial
        self._cos: Tensor
        self._sin: Tensor
        cos, sin = spatial_rotary(self.grid, spatial)
        self.register_buffer("_cos", cos, persistent=False)
        self.register_buffer("_sin", sin, persistent=False)

    def speed_up(self, rows: Iterable[int], compiled: Callable[[Any], Any]) -> None:
        """Run the layers `compiled` in calls of so many rows over a full cache.

        Those are the calls that go on for ever; compiling the few before them would only put off
        the first picture. All layers are alike, so one compilation serves them all.
        """
        self._compiled, self._compiled_rows = compiled, frozenset(rows)
        self._steady = {number: compiled(block) for number, block in self._blocks.items()}

    @property
    def own(self) -> range:
        """The numbers of the layers that are here."""
        return range(min(self._blocks), max(self._blocks) + 1)

    def take(self, start: int, blocks: Iterable[Any]) -> None:
        """Take over layers, numbered from `start` on."""
        for number, block in enumerate(blocks, start):
            block.attn1.set_processor(CachedSelfAttention())
            block.attn2.set_processor(CachedCrossAttention())
            self._blocks[number] = block
            if self._compiled:
                self._steady[number] = self._compiled(block)
        self._list()

    def keep(self, layers: range) -> None:
        """Let go of all layers but these."""
        for number in self._blocks.keys() - set(layers):
            del self._blocks[number]
            self._steady.pop(number, None)
        self._list()

    def lacks(self, layers: range) -> range:
        """Return those of `layers` that are not here, from the first to the last of them."""
        missing = sorted(set(layers) - self._blocks.keys())
        return range(missing[0], missing[-1] + 1) if missing else range(0)

    def _list(self) -> None:
        self.transformer.blocks = nn.ModuleList(self._blocks[n] for n in sorted(self._blocks))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the layers' weights, and of the cache."""
        block: Any = next(iter(self._blocks.values()))
        found: torch.dtype = block.attn1.to_q.weight.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = next(self.transformer.parameters()).device
        return found

    def new_cache(self, rows: int, slots: int, layers: range | None = None) -> KVCache:
        """Return an empty cache of so many frames in each row, for `layers` (default: all here)."""
        config, count = self.transformer.config, len(self.own if layers is None else layers)
        tokens = self.grid[0] * self.grid[1]
        shape = (count, rows, slots, tokens, config.num_attention_heads, config.attention_head_dim)
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2))
        return KVCache(keys, values)

    def new_latents(self, rows: int, frames: int) -> Tensor:
        """Return zeros ``(rows, frames, C, h, w)`` float32."""
        config = self.transformer.config
        _, tall, wide = config.patch_size
        size = (self.grid[0] * tall, self.grid[1] * wide)
        return torch.zeros(rows, frames, config.in_channels, *size, device=self.device)

    def chunk(
        self,
        timesteps: Rows,
        positions: Rows,
        write: Rows,
        slots: int,
        mask: Tensor | None = None,
    ) -> Chunk:
        """Return the place of a call's frames, from plain numbers, one list a row.

        Args:
            timesteps: of every frame, or one for the row.
            positions: of every frame, in latent frames; any whole number.
            write: the slot that takes each frame.
            slots: slots in a row of the cache.
            mask: as `Chunk` has it.
        """
        config = self.transformer.config
        place = [row * slots + slot for row, own in enumerate(write) for slot in own]
        angles = phase_angles(positions, config.attention_head_dim - 2 * self._spatial_dims)
        time = sinusoid(timesteps, config.freq_dim)
        parts = (time, angles.cos().float(), angles.sin().float(), torch.tensor(place))
        time, cos, sin, index = (part.to(self.device, non_blocking=True) for part in parts)
        return Chunk(time, cos, sin, index, mask)

    def prompt(self, embeds: Tensor, layers: range | None = None) -> Tensor:
        """Return the keys and values of a prompt in every layer.

        Args:
            embeds: ``(1, L, text_dim)``, zero past the text.
            layers: which ones. Default: all that are here.

        Returns:
            ``(layers, 2, 1, L, heads, head_dim)``.
        """
        states = self.transformer.condition_embedder.text_embedder(embeds.to(self.dtype))
        made = []
        for number in self.own if layers is None else layers:
            attn = self._blocks[number].attn2
            key, value = attn.norm_k(attn.to_k(states)), attn.to_v(states)
            made.append(torch.stack([x.unflatten(2, (attn.heads, -1)) for x in (key, value)]))
        return torch.stack(made)

    def forward(
        self, x: Tensor, chunk: Chunk, text: Tensor, cache: LayerCache, layers: range | None = None
    ) -> Tensor:
        """Return the flow of the chunk, and write its keys and values into `cache`.

        Args:
            x: latents ``(rows, f, C, h, w)`` float32; or tokens ``(rows, f * tokens, dim)``
                where the first layers are elsewhere.
            chunk: where the frames stand.
            text: what `prompt` gave for these layers.
            cache: of these rows, and of these layers.
            layers: the ones to run. Default: all that are here.

        Returns:
            The flow ``(rows, f, C, h, w)`` float32; or tokens where the last layers are elsewhere.
        """
        frames = chunk.cos.shape[1]
        tokens = self._patches(x) if self.first else x
        temb, modulation = self._time(chunk.time, frames)
        turn = self._rotation(chunk)
        steady = chunk.mask is None and len(x) in self._compiled_rows
        blocks = self._steady if steady else self._blocks
        for index, number in enumerate(self.own if layers is None else layers):
            seen = AttentionContext(*turn, chunk.write, chunk.mask, *cache.layer(index))
            tokens = blocks[number](tokens, text[index], modulation, seen)
        return self._flow(tokens, temb, frames) if self.last else tokens

    def _patches(self, latents: Tensor) -> Tensor:
        """Return tokens ``(rows, f * tokens, dim)``, by frame, then row, then column."""
        patches = self.transformer.patch_embedding(latents.transpose(1, 2).to(self.dtype))
        tokens: Tensor = patches.flatten(2).transpose(1, 2).contiguous()
        return tokens

    def _time(self, time: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Return the embedded times, and what they do to each layer (for each token if need be)."""
        embedder = self.transformer.condition_embedder
        temb = embedder.time_embedder(time).to(self.dtype)
        modulation: Tensor = embedder.time_proj(embedder.act_fn(temb))
        modulation = modulation.reshape(*modulation.shape[:2], 6, -1)
        if time.shape[1] == 1:
            return temb, modulation.squeeze(1)
        tokens = self.grid[0] * self.grid[1] * frames // time.shape[1]
        return temb, modulation.repeat_interleave(tokens, 1)

    def _rotation(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Return cos and sin for every token: of its frame, then of its row and column."""
        pairs = ((chunk.cos, self._cos), (chunk.sin, self._sin))
        whole = []
        for temporal, spatial in pairs:
            rows, frames, _ = temporal.shape
            parts = (
                temporal[:, :, None].expand(-1, -1, len(spatial), -1),
                spatial.expand(rows, frames, -1, -1),
            )
            whole.append(torch.cat(parts, -1).flatten(1, 2).unsqueeze(2))
        return whole[0], whole[1]

    def _flow(self, tokens: Tensor, temb: Tensor, frames: int) -> Tensor:
        model, (high, wide) = self.transformer, self.grid
        shift, scale = (model.scale_shift_table + temb.unsqueeze(2)).unsqueeze(3).unbind(2)
        by_time = tokens.reshape(*temb.shape[:2], -1, tokens.shape[2])
        normed = (model.norm_out(by_time.float()) * (1 + scale) + shift).type_as(tokens)
        patches: Tensor = model.proj_out(normed).flatten(1, 2)
        _, tall, broad = model.config.patch_size
        cells = patches.reshape(len(patches), frames, high, wide, tall, broad, -1)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4).float()
