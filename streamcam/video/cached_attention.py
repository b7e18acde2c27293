"""Attention processors for diffusers' Wan: self-attention over a KV cache, a cached prompt."""

from typing import Any, NamedTuple

from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor

from streamcam.video.rotary import apply_rotary


class AttentionContext(NamedTuple):
    """Inputs of self-attention, passed where the stock model passes its rotary embedding."""

    cos: Tensor
    """``(rows, f * tokens, 1, head_dim / 2)``."""
    sin: Tensor
    write: Tensor
    """``(rows * f,)`` int64 slots, as in `Chunk`."""
    mask: Tensor | None
    keys: Tensor
    """``(rows, slots, tokens, heads, head_dim)``, as are the values."""
    values: Tensor


class CachedSelfAttention:
    """Self-attention: write the chunk's keys and values into their slots, then attend to all."""

    def __call__(
        self, attn: Any, hidden: Tensor, _text: None, _mask: None, context: AttentionContext
    ) -> Tensor:
        # (rows, f * tokens, heads, head_dim) each
        query, key, value = _project(attn, hidden, hidden)
        query, key = (
            apply_rotary(query, context.cos, context.sin),
            apply_rotary(key, context.cos, context.sin),
        )
        # cache: (rows, slots, tokens, heads, head_dim)
        for cache, new in ((context.keys, key), (context.values, value)):
            frames = new.reshape(-1, *cache.shape[2:])
            cache.flatten(0, 1).index_copy_(0, context.write, frames.to(cache.dtype))
        out = dispatch_attention_fn(
            query, context.keys.flatten(1, 2), context.values.flatten(1, 2), attn_mask=context.mask
        )
        return _out(attn, out)


class CachedCrossAttention:
    """Cross-attention to a prompt whose keys and values were computed once.

    `text` is ``(2, 1, L, heads, head_dim)``.
    """

    def __call__(
        self, attn: Any, hidden: Tensor, text: Tensor, _mask: None, _rotation: None
    ) -> Tensor:
        query = attn.norm_q(attn.to_q(hidden)).unflatten(2, (attn.heads, -1))
        key, value = text.expand(-1, len(hidden), -1, -1, -1)
        return _out(attn, dispatch_attention_fn(query, key, value))


def _project(attn: Any, hidden: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, key = attn.norm_q(attn.to_q(hidden)), attn.norm_k(attn.to_k(states))
    heads = (attn.heads, -1)
    return query.unflatten(2, heads), key.unflatten(2, heads), attn.to_v(states).unflatten(2, heads)


def _out(attn: Any, heads: Tensor) -> Tensor:
    result: Tensor = attn.to_out[0](heads.flatten(2, 3))
    return result
