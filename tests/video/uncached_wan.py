"""Causal Wan without a cache: computes the whole past again for every chunk, in float64.

Written from the papers' formulas alone: no plan, no slots, no cache, and none of the modules that
the pipeline runs. A chunk attends to a list of sink frames and a list of the latest frames.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


class Window(NamedTuple):
    """Frames that a chunk attends to, and their positions."""

    frames: int
    sink_tokens: int
    position_limit: int = 1000
    realign: bool = False
    sink_threshold: float = -1.0


class ChunkInput(NamedTuple):
    """Input of a chunk in the last of its passes through a row."""

    x_t: Tensor
    """``(f, C, h, w)``."""
    timestep: float


@dataclass
class FrameKV:
    """Keys and values of a frame in one layer."""

    key: Tensor
    """``(tokens, heads, head_dim)``, not rotated."""
    value: Tensor
    position: int


class Reference:
    """Transformer with the weights of `model`, a `WanTransformer3DModel`."""

    def __init__(self, model: nn.Module, window: Window) -> None:
        self._w = {name: value.double() for name, value in model.state_dict().items()}
        self._config, self._window = model.config, window

    def flow(self, past: Sequence[ChunkInput], embeds: Tensor) -> Tensor:
        """Return the flow ``(f, C, h, w)`` of the last of these chunks, given oldest first."""
        text = self._mlp(
            embeds[0].double(), "condition_embedder.text_embedder.linear_", "gelu_tanh"
        )
        high, wide = (side // 2 for side in past[0].x_t.shape[2:])
        tokens = [self._patches(chunk_input.x_t.double()) for chunk_input in past]
        times = [self._time(chunk_input.timestep) for chunk_input in past]
        for layer in range(self._config.num_layers):
            tokens = self._block(f"blocks.{layer}.", tokens, times, text, (high, wide))
        shift, scale = (self._w["scale_shift_table"][0] + times[-1]).unbind(0)
        out = self._linear(self._norm(tokens[-1]) * (1 + scale) + shift, "proj_out")
        cells = out.reshape(len(past[-1].x_t), high, wide, 2, 2, -1)
        return cells.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def _block(
        self,
        at: str,
        tokens: list[Tensor],
        times: list[Tensor],
        text: Tensor,
        grid: tuple[int, int],
    ) -> list[Tensor]:
        table, dim = self._w[f"{at}scale_shift_table"][0], tokens[0].shape[-1]
        steps = [
            table + self._linear(F.silu(t), "condition_embedder.time_proj").view(6, dim)
            for t in times
        ]
        normed = [self._norm(x) * (1 + m[1]) + m[0] for x, m in zip(tokens, steps, strict=True)]
        attended = self._attend_all(f"{at}attn1.", normed, grid)
        outputs = []
        for x, m, self_attended in zip(tokens, steps, attended, strict=True):
            hidden = x + self_attended * m[2]
            affine = (self._w[f"{at}norm2.weight"], self._w[f"{at}norm2.bias"])
            from_text = self._to_text(
                f"{at}attn2.", F.layer_norm(hidden, (dim,), *affine, EPS), text
            )
            hidden = hidden + from_text
            wide = self._linear(self._norm(hidden) * (1 + m[4]) + m[3], f"{at}ffn.net.0.proj")
            out = self._linear(F.gelu(wide, approximate="tanh"), f"{at}ffn.net.2")
            outputs.append(hidden + out * m[5])
        return outputs

    def _attend_all(self, at: str, chunks: list[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Return the self-attention output of each chunk."""
        window, size = self._window, grid[0] * grid[1]
        sink_tokens: list[FrameKV] = []
        latest: deque[FrameKV] = deque(maxlen=window.frames - window.sink_tokens)
        frame = position = 0
        outputs = []
        for x in chunks:
            count = len(x) // size
            if position >= window.position_limit:
                back = position - (window.frames - (count if window.realign else 1))
                position -= back
                if window.realign:
                    latest = deque(
                        (replace(s, position=s.position - back) for s in latest), latest.maxlen
                    )
            query = self._heads(self._rms(self._linear(x, f"{at}to_q"), f"{at}norm_q"))
            key = self._heads(self._rms(self._linear(x, f"{at}to_k"), f"{at}norm_k"))
            value = self._heads(self._linear(x, f"{at}to_v"))
            new = [
                FrameKV(
                    key[i * size : (i + 1) * size], value[i * size : (i + 1) * size], position + i
                )
                for i in range(count)
            ]
            for one in new:
                (sink_tokens if len(sink_tokens) < window.sink_tokens else latest).append(one)
            visible = [*sink_tokens, *latest]
            turned = torch.cat(
                [
                    _turned(query[i * size : (i + 1) * size], position + i, grid)
                    for i in range(count)
                ]
            )
            keys = torch.cat([_turned(s.key, s.position, grid) for s in visible])
            out = _attention(turned, keys, torch.cat([s.value for s in visible]))
            outputs.append(self._linear(out, f"{at}to_out.0"))
            if count == 1 and frame >= window.sink_tokens > 0 and window.sink_threshold > -1:
                self._refresh(sink_tokens, new[0], grid)
            frame, position = frame + count, position + count
        return outputs

    def _refresh(self, sink_tokens: list[FrameKV], new: FrameKV, grid: tuple[int, int]) -> None:
        def mean(one: FrameKV) -> tuple[Tensor, Tensor]:
            return (
                _turned(one.key, one.position, grid).mean(0).flatten(),
                one.value.mean(0).flatten(),
            )

        alike = [
            sum(
                float(F.cosine_similarity(a, b, dim=0))
                for a, b in zip(mean(s), mean(new), strict=True)
            )
            / 2
            for s in sink_tokens
        ]
        least = alike.index(min(alike))
        if alike[least] < self._window.sink_threshold:
            position = least if self._window.realign else new.position
            sink_tokens[least] = replace(new, position=position)

    def _to_text(self, at: str, x: Tensor, text: Tensor) -> Tensor:
        query = self._heads(self._rms(self._linear(x, f"{at}to_q"), f"{at}norm_q"))
        key = self._heads(self._rms(self._linear(text, f"{at}to_k"), f"{at}norm_k"))
        value = self._heads(self._linear(text, f"{at}to_v"))
        return self._linear(_attention(query, key, value), f"{at}to_out.0")

    def _patches(self, x: Tensor) -> Tensor:
        weight, bias = self._w["patch_embedding.weight"], self._w["patch_embedding.bias"]
        return F.conv2d(x, weight[:, :, 0], bias, stride=2).flatten(2).transpose(1, 2).flatten(0, 1)

    def _time(self, timestep: float) -> Tensor:
        half = self._config.freq_dim // 2
        angle = timestep * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        wave = torch.cat([angle.cos(), angle.sin()])
        return self._mlp(wave, "condition_embedder.time_embedder.linear_", "silu")

    def _mlp(self, x: Tensor, at: str, between: str) -> Tensor:
        hidden = self._linear(x, f"{at}1")
        act = F.silu(hidden) if between == "silu" else F.gelu(hidden, approximate="tanh")
        return self._linear(act, f"{at}2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._w[f"{name}.weight"], self._w[f"{name}.bias"])

    def _rms(self, x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * self._w[f"{name}.weight"]

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=EPS)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self._config.num_attention_heads, -1))


def _attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    scores = torch.einsum("qhd,khd->hqk", query, keys) / query.shape[-1] ** 0.5
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), values).flatten(1)


def _turned(x: Tensor, position: int, grid: tuple[int, int]) -> Tensor:
    """Rotate the pairs of one frame's tokens by their time, row and column."""
    dims = x.shape[-1]
    spatial = 2 * (dims // 6)
    angles = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            places = (
                (position, dims - 2 * spatial),
                (row, spatial),
                (column, spatial),
            )
            angles.append(
                torch.cat(
                    [
                        place * 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
                        for place, d in places
                    ]
                )
            )
    turn = torch.polar(torch.ones(1, dtype=torch.float64), torch.stack(angles)[:, None])
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)
