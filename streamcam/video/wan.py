"""Causal Wan: diffusers' own transformer, run chunk by chunk over a KV cache.

A chunk of f latent frames attends to itself and to the frames in the cache (StreamDiffusionV2,
arXiv 2511.07399, section 4). There is no causal mask: later frames are not there yet. Keys are
cached rotated, so a frame keeps the position it was written with.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.video.cache_plan import CacheShape
from streamcam.video.cached_attention import (
    AttentionContext,
    CachedCrossAttention,
    CachedSelfAttention,
)
from streamcam.video.kv_cache import KVCache, LayerCache
from streamcam.video.rotary import Rows, Times, phase_angles, sinusoid, spatial_rotary


class ChunkInputs(NamedTuple):
    """Times, positions and cache slots of the frames of one call, f frames in every row."""

    time: Tensor
    """``(rows, f, freq_dim)`` float32 sinusoids of the timesteps; f is 1 where all are equal."""
    cos: Tensor
    """``(rows, f, t / 2)`` float32: temporal part of the rotary embedding, of t dimensions."""
    sin: Tensor
    write: Tensor
    """``(rows * f,)`` int64: slots that take the frames, counted through all rows."""
    mask: Tensor | None
    """Bool, broadcast over ``(rows, heads, f * tokens, slots * tokens)``; True where visible."""


class CausalWan(nn.Module):
    """All layers of a Wan transformer, or a contiguous range of them.

    Args:
        transformer: a `WanTransformer3DModel` that holds these layers.
        size: height and width of the latents.
        start: number of its first layer in the whole model.
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
        self._compile_fn: Callable[[Any], Any] | None = None
        self._compiled_rows: frozenset[int] = frozenset()
        self._compiled_blocks: dict[int, Any] = {}
        self._blocks: dict[int, Any] = {}
        self.add_layers(start, transformer.blocks)
        _, tall, wide = transformer.config.patch_size
        self.grid = (size[0] // tall, size[1] // wide)
        spatial = 2 * (transformer.config.attention_head_dim // 6)
        self._spatial_dims = spatial
        self._cos: Tensor
        self._sin: Tensor
        cos, sin = spatial_rotary(self.grid, spatial)
        self.register_buffer("_cos", cos, persistent=False)
        self.register_buffer("_sin", sin, persistent=False)

    def compile_layers(self, rows: Iterable[int], compile_fn: Callable[[Any], Any]) -> None:
        """Compile the layers for calls of these numbers of rows over a full cache.

        Those are the calls that go on for ever; compiling the few before them would only delay
        the first output. All layers have the same shapes, so one compilation serves them all.

        Args:
            rows: numbers of rows.
            compile_fn: returns a compiled layer.
        """
        self._compile_fn, self._compiled_rows = compile_fn, frozenset(rows)
        self._compiled_blocks = {
            number: compile_fn(block) for number, block in self._blocks.items()
        }

    @property
    def layer_range(self) -> range:
        """Numbers of the layers in this process."""
        return range(min(self._blocks), max(self._blocks) + 1)

    def add_layers(self, start: int, blocks: Iterable[Any]) -> None:
        """Add layers, numbered from `start`."""
        for number, block in enumerate(blocks, start):
            block.attn1.set_processor(CachedSelfAttention())
            block.attn2.set_processor(CachedCrossAttention())
            self._blocks[number] = block
            if self._compile_fn:
                self._compiled_blocks[number] = self._compile_fn(block)
        self._update_transformer()

    def keep_layers(self, layers: range) -> None:
        """Drop all layers but these."""
        for number in self._blocks.keys() - set(layers):
            del self._blocks[number]
            self._compiled_blocks.pop(number, None)
        self._update_transformer()

    def missing_layers(self, layers: range) -> range:
        """Return the smallest range that holds all of `layers` that are not here."""
        missing = sorted(set(layers) - self._blocks.keys())
        return range(missing[0], missing[-1] + 1) if missing else range(0)

    def _update_transformer(self) -> None:
        self.transformer.blocks = nn.ModuleList(self._blocks[n] for n in sorted(self._blocks))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the layers' weights, and of the cache."""
        block: Any = next(iter(self._blocks.values()))
        value: torch.dtype = block.attn1.to_q.weight.dtype
        return value

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        value: torch.device = next(self.transformer.parameters()).device
        return value

    def new_cache(self, rows: int, shape: CacheShape, layers: range | None = None) -> KVCache:
        """Return an empty cache of this shape in each row, for `layers` (default: all here)."""
        config, count = self.transformer.config, len(self.layer_range if layers is None else layers)
        tokens = self.grid[0] * self.grid[1]
        heads = (config.num_attention_heads, config.attention_head_dim)
        keys, values = (
            torch.zeros(
                (count, rows, shape.slots, tokens, *heads), dtype=self.dtype, device=self.device
            )
            for _ in range(2)
        )
        sink_frames = (count, rows, shape.sink_tokens)
        cache = KVCache(
            keys, values, torch.zeros(sink_frames, dtype=torch.int64, device=self.device)
        )
        cache.reset()
        return cache

    def new_latents(self, rows: int, frames: int) -> Tensor:
        """Return zeros ``(rows, frames, C, h, w)`` float32."""
        config = self.transformer.config
        _, tall, wide = config.patch_size
        size = (self.grid[0] * tall, self.grid[1] * wide)
        return torch.zeros(rows, frames, config.in_channels, *size, device=self.device)

    def chunk_inputs(
        self,
        timesteps: Times,
        positions: Rows,
        write: Rows,
        slots: int,
        mask: Tensor | None = None,
        device: torch.device | None = None,
    ) -> ChunkInputs:
        """Return the inputs of a call from plain numbers, one list a row.

        Args:
            timesteps: of every frame, or one for the row.
            positions: of every frame, in latent frames; any whole number.
            write: slot that takes each frame.
            slots: in a row of the cache.
            mask: as in `ChunkInputs`.
            device: where they are needed. Default: that of the model.
        """
        config = self.transformer.config
        index = [row * slots + slot for row, row_slots in enumerate(write) for slot in row_slots]
        angles = phase_angles(positions, config.attention_head_dim - 2 * self._spatial_dims)
        tensors = (
            sinusoid(timesteps, config.freq_dim),
            angles.cos().float(),
            angles.sin().float(),
            torch.tensor(index),
        )
        target = device or self.device
        time, cos, sin, write_index = (x.to(target, non_blocking=True) for x in tensors)
        return ChunkInputs(time, cos, sin, write_index, mask)

    def prompt_kv(self, embeds: Tensor, layers: range | None = None) -> Tensor:
        """Return the keys and values of a prompt in every layer.

        Args:
            embeds: ``(1, L, text_dim)``, zero past the text.
            layers: numbers. Default: all that are here.

        Returns:
            ``(layers, 2, 1, L, heads, head_dim)``.
        """
        states = self.transformer.condition_embedder.text_embedder(embeds.to(self.dtype))
        keys_values = []
        for number in self.layer_range if layers is None else layers:
            attn = self._blocks[number].attn2
            key, value = attn.norm_k(attn.to_k(states)), attn.to_v(states)
            heads = [x.unflatten(2, (attn.heads, -1)) for x in (key, value)]
            keys_values.append(torch.stack(heads))
        return torch.stack(keys_values)

    def forward(
        self,
        x: Tensor,
        inputs: ChunkInputs,
        text: Tensor,
        cache: LayerCache,
        layers: range | None = None,
    ) -> Tensor:
        """Return the flow of the chunk, and write its keys and values into `cache`.

        Args:
            x: latents ``(rows, f, C, h, w)`` float32; or tokens ``(rows, f * tokens, dim)``
                where the first layers are elsewhere.
            inputs: times, positions and slots of the frames.
            text: keys and values of the prompt in these layers, from `prompt_kv`.
            cache: of these rows, and of these layers.
            layers: numbers of those to run. Default: all that are here.

        Returns:
            The flow ``(rows, f, C, h, w)`` float32; or tokens where the last layers are elsewhere.
        """
        frames = inputs.cos.shape[1]
        tokens = self._embed_patches(x) if self.first else x
        temb, modulation = self._embed_time(inputs.time, frames)
        rotation = self._rotary(inputs)
        steady = inputs.mask is None and len(x) in self._compiled_rows
        blocks = self._compiled_blocks if steady else self._blocks
        for index, number in enumerate(self.layer_range if layers is None else layers):
            context = AttentionContext(*rotation, inputs.write, inputs.mask, *cache.layer(index))
            tokens = blocks[number](tokens, text[index], modulation, context)
        return self._unpatchify(tokens, temb, frames) if self.last else tokens

    def _embed_patches(self, latents: Tensor) -> Tensor:
        """Return tokens ``(rows, f * tokens, dim)``, by frame, then row, then column."""
        patches = self.transformer.patch_embedding(latents.transpose(1, 2).to(self.dtype))
        tokens: Tensor = patches.flatten(2).transpose(1, 2).contiguous()
        return tokens

    def _embed_time(self, time: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Return time embeddings ``(rows, 1 or f, dim)``, and the modulation of every layer.

        The modulation is ``(rows, 6, dim)``, or ``(rows, f * tokens, 6, dim)`` where the frames
        of a row have timesteps of their own.
        """
        embedder = self.transformer.condition_embedder
        temb = embedder.time_embedder(time).to(self.dtype)
        modulation: Tensor = embedder.time_proj(embedder.act_fn(temb))
        modulation = modulation.reshape(*modulation.shape[:2], 6, -1)
        if time.shape[1] == 1:
            return temb, modulation.squeeze(1)
        tokens = self.grid[0] * self.grid[1] * frames // time.shape[1]
        return temb, modulation.repeat_interleave(tokens, 1)

    def _rotary(self, inputs: ChunkInputs) -> tuple[Tensor, Tensor]:
        """Return cos and sin ``(rows, f * tokens, 1, head_dim / 2)``: by frame, row and column."""
        pairs = ((inputs.cos, self._cos), (inputs.sin, self._sin))
        rotary = []
        for temporal, spatial in pairs:
            rows, frames, _ = temporal.shape
            parts = (
                temporal[:, :, None].expand(-1, -1, len(spatial), -1),
                spatial.expand(rows, frames, -1, -1),
            )
            rotary.append(torch.cat(parts, -1).flatten(1, 2).unsqueeze(2))
        return rotary[0], rotary[1]

    def _unpatchify(self, tokens: Tensor, temb: Tensor, frames: int) -> Tensor:
        """Return the flow ``(rows, f, C, h, w)`` float32 of the last layer's tokens."""
        model, (high, wide) = self.transformer, self.grid
        shift, scale = (model.scale_shift_table + temb.unsqueeze(2)).unsqueeze(3).unbind(2)
        by_time = tokens.reshape(*temb.shape[:2], -1, tokens.shape[2])
        normed = (model.norm_out(by_time.float()) * (1 + scale) + shift).type_as(tokens)
        patches: Tensor = model.proj_out(normed).flatten(1, 2)
        _, tall, broad = model.config.patch_size
        cells = patches.reshape(len(patches), frames, high, wide, tall, broad, -1)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4).float()
