"""Attention processors for Stream Batch: cached prompt keys and values, cross-frame attention.

The U-Net passes its encoder hidden states to every cross-attention unchanged, so the cached
keys and values travel in their place: one tensor ``(rows, L, D + sum of 2 * inner)`` with the
prompt's embeddings first and each layer's keys and values after them. Inputs and outputs stay
plain tensors, which every engine accepts.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcam.models.lora_layers import LoraLayer, joined


class Projection(NamedTuple):
    """The weights of a linear layer."""

    weight: Tensor
    """``(inner, D)``."""
    bias: Tensor | None
    """``(inner,)``."""


def projected(prompt_embeds: Tensor, projections: Sequence[Projection]) -> Tensor:
    """Return what `PromptCache` makes of embeddings ``(b, L, D)``, from its `projections`."""
    parts = [F.linear(prompt_embeds, *projection) for projection in projections]
    return torch.cat([prompt_embeds, *parts], dim=-1) if parts else prompt_embeds


class PromptCache(nn.Module):
    """Compute the keys and values of every cross-attention of a U-Net at once.

    The constructor replaces the U-Net's cross-attention processors: from then on its encoder
    hidden states must be those that `forward` returns.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        layers = [
            (name, module)
            for name, module in unet.named_modules()
            if name.endswith(".attn2") and hasattr(module, "to_k")
        ]
        self._layers = [layer for _, layer in layers]
        processors = dict(unet.attn_processors)
        width = start = unet.config.cross_attention_dim
        for name, layer in layers:
            processors[f"{name}.processor"] = CachedCrossAttention(start, layer.inner_dim)
            start += 2 * layer.inner_dim
        unet.set_attn_processor(processors)
        if unet.config.addition_embed_type == "text":
            unet.add_embedding = EmbeddingsOnly(unet.add_embedding, width)

    def projections(self) -> list[Projection] | None:
        """Return the weights of every projection in order; None where there is more to it."""
        if any(layer.norm_cross for layer in self._layers):
            return None
        linear = [part for layer in self._layers for part in (layer.to_k, layer.to_v)]
        if any(isinstance(part, LoraLayer) for part in linear):
            return None
        return [Projection(part.weight, part.bias) for part in linear]

    def forward(self, prompt_embeds: Tensor) -> Tensor:
        """Return ``(b, L, D + sum of 2 * inner)`` for embeddings ``(b, L, D)``."""
        parts = [prompt_embeds]
        for layer in self._layers:
            states = prompt_embeds
            if layer.norm_cross:
                states = layer.norm_encoder_hidden_states(states)
            parts += [layer.to_k(states), layer.to_v(states)]
        return torch.cat(parts, dim=-1)


class EmbeddingsOnly(nn.Module):
    """Call a module with the embeddings only, which are at the front of the cached states."""

    def __init__(self, module: nn.Module, width: int) -> None:
        super().__init__()
        self.module = module
        self.width = width

    def forward(self, states: Tensor) -> Tensor:
        result: Tensor = self.module(states[..., : self.width])
        return result


class CachedCrossAttention:
    """Cross-attention with keys and values read from the encoder hidden states."""

    def __init__(self, start: int, width: int) -> None:
        self.start = start
        self.width = width

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        **_: Any,
    ) -> Tensor:
        key, value = self.keys_and_values(encoder_hidden_states)
        query = attn.to_q(hidden_states)
        return project(attn, attend(query, key, value, attn.heads))

    def keys_and_values(self, encoder_hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return this layer's keys and values of the prompt, ``(rows, L, width)`` each."""
        middle = self.start + self.width
        key = encoder_hidden_states[..., self.start : middle]
        return key, encoder_hidden_states[..., middle : middle + self.width]


class FusedSelfAttention:
    """Self-attention of each row, with query, key and value from one product."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        query, key, value = query_key_value(attn, hidden_states)
        return project(attn, attend(query, key, value, attn.heads))


def fuse_self_attention(unet: Any) -> None:
    """Replace the three projections of every self-attention of `unet` by one of their weights."""
    processors = dict(unet.attn_processors)
    for name, layer in unet.named_modules():
        if name.endswith(".attn1") and is_plain(layer):
            layer.fuse_projections()
            layer.to_qkv.requires_grad_(False)
            layer.to_qkv = joined(layer.to_qkv, (layer.to_q, layer.to_k, layer.to_v))
            del layer.to_q, layer.to_k, layer.to_v
            processors[f"{name}.processor"] = FusedSelfAttention()
    unet.set_attn_processor(processors)


def is_plain(attn: Any) -> bool:
    """Return whether nothing stands between the projections and the attention itself."""
    extras = (attn.norm_q, attn.norm_k, attn.group_norm, attn.spatial_norm)
    return not any(extras) and not (attn.residual_connection or attn.is_cross_attention)


class CrossFrameAttention:
    """Self-attention over all rows of a stream batch at once (section 3.6).

    `groups` are the numbers of rows that attend to each other: those with the negative prompt,
    if any, and those with the prompt.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self.groups = list(groups)

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        length, width = hidden_states.shape[1:]
        joined = []
        for rows in torch.split(hidden_states, self.groups):
            query, key, value = query_key_value(attn, rows.reshape(1, -1, width))
            joined.append(attend(query, key, value, attn.heads).reshape(-1, length, width))
        return project(attn, torch.cat(joined))


def enable_cross_frame_attention(unet: Any, groups: Sequence[int]) -> None:
    """Let every self-attention of `unet` attend to all rows of its group."""
    processors = {
        name: CrossFrameAttention(groups) if name.endswith(".attn1.processor") else processor
        for name, processor in unet.attn_processors.items()
    }
    unet.set_attn_processor(processors)


def query_key_value(attn: Any, states: Tensor) -> Sequence[Tensor]:
    """Return the three projections of `states`, each ``(rows, L, inner)``."""
    if attn.fused_projections:
        parts: Sequence[Tensor] = attn.to_qkv(states).chunk(3, dim=-1)
        return parts
    return attn.to_q(states), attn.to_k(states), attn.to_v(states)


def attention_output(
    attn: Any, query: Tensor, key: Tensor, value: Tensor, log_weights: Tensor | None = None
) -> Tensor:
    """Return what a layer makes of projections ``(rows, L, inner)``.

    `log_weights`, ``(rows, 1, 1, L of the keys)``, are added to the logits of the keys.
    """
    return project(attn, attend(query, key, value, attn.heads, log_weights))


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, log_weights: Tensor | None = None
) -> Tensor:
    """Return the attention ``(b, L, width)`` of queries to keys and their values, by heads."""
    batch, length, width = query.shape
    query, key, value = (
        states.view(batch, -1, heads, width // heads).transpose(1, 2)
        for states in (query, key, value)
    )
    joined: Tensor = F.scaled_dot_product_attention(query, key, value, attn_mask=log_weights)
    return joined.transpose(1, 2).reshape(batch, length, width)


def project(attn: Any, states: Tensor) -> Tensor:
    """Return what a layer makes of the result of its attention."""
    result: Tensor = attn.to_out[1](attn.to_out[0](states)) / attn.rescale_output_factor
    return result
