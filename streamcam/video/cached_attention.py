"""Attention processors for diffusers' Wan: self-attention over a KV cache, a cached prompt."""

from typing import Any, NamedTuple

from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor

from streamcam.video.rotary import apply_rotary


class AttentionContext(NamedTuple):
    """What self-attention is told, in the place where the stock model hands a rotation through."""

    cos: Tensor
    """``(rows, f * tokens, 1, head_dim / 2)``."""
    sin: Tensor
    write: Tensor
    mask: Tensor | None
    keys: Tensor
    """``(rows, slots, tokens, heads, head_dim)``, as are the values."""
    values: Tensor


class CachedSelfAttention:
    """Write the chunk's keys and values into their slots, then attend over all slots."""

    def __call__(
        self, attn: Any, hidden: Tensor, _text: None, _mask: None, seen: AttentionContext
    ) -> Tensor:
        query, key, value = _projected(attn, hidden, hidden)
        query, key = apply_rotary(query, seen.cos, seen.sin), apply_rotary(key, seen.cos, seen.sin)
        pairs = ((seen.keys, key), (seen.values, value))
        for kept, new in pairs:
            frames = new.reshape(-1, *kept.shape[2:])
            kept.flatten(0, 1).index_copy_(0, seen.write, frames.to(kept.dtype))
        out = dispatch_attention_fn(
            query, seen.keys.flatten(1, 2), seen.values.flatten(1, 2), attn_mask=seen.mask
        )
        return _out(attn, out)


class CachedCrossAttention:
    """Attend to the prompt, whose keys and values were computed once, ``(2, 1, L, heads, d)``."""

    def __call__(
        self, attn: Any, hidden: Tensor, text: Tensor, _mask: None, _rotation: None
    ) -> Tensor:
        query = attn.norm_q(attn.to_q(hidden)).unflatten(2, (attn.heads, -1))
        key, value = text.expand(-1, len(hidden), -1, -1, -1)
        return _out(attn, dispatch_attention_fn(query, key, value))


def _projected(attn: Any, hidden: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, key = attn.norm_q(attn.to_q(hidden)), attn.norm_k(attn.to_k(states))
    heads = (attn.heads, -1)
    return query.unflatten(2, heads), key.unflatten(2, heads), attn.to_v(states).unflatten(2, heads)


def _out(attn: Any, heads: Tensor) -> Tensor:
    result: Tensor = attn.to_out[0](heads.flatten(2, 3))
    return result
