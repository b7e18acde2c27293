"""Prompts to what the U-Net is told: encoded once, blended, and kept."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stages import Condition, Text
from streamcam.settings.parameters import Parameters, Prompt

Value = TypeVar("Value")

TEXTS_KEPT = 64
CONDITIONS_KEPT = 4


class Memo(Generic[Value]):
    """Keep the newest `size` results, the least used going first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()

    def __call__(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what `make` gave for `key`, calling it if that is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the result for `key` is kept."""
        return key in self._kept


class Conditioner:
    """Turn a snapshot's prompts into the conditions of every row of a call."""

    def __init__(self, models: ImageModel) -> None:
        self._models = models
        self._texts: Memo[Text] = Memo(TEXTS_KEPT)
        self._conditions: Memo[Condition] = Memo(CONDITIONS_KEPT)

    def __call__(self, parameters: Parameters, *, negative: int, positive: int) -> Condition:
        """Return the conditions of `negative` rows with the negative prompt, then `positive`."""
        unwanted = parameters.negative_prompt if negative else None
        interpolation = parameters.prompt_interpolation

        def make() -> Condition:
            parts = [(self._blended(parameters.prompt, interpolation), positive)]
            if unwanted:
                parts.insert(0, (self._blended(unwanted, interpolation), negative))
            return self._condition(parts)

        key = (parameters.prompt, unwanted, interpolation, negative, positive)
        return self._conditions(key, make)

    def _blended(self, prompt: Prompt, interpolation: str) -> Text:
        weighted = [(text, weight) for text, weight in prompt if weight]
        texts = [self._text(text) for text, _ in weighted]
        weights = [weight for _, weight in weighted]
        blend = BLENDS[interpolation]
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return Text(
            blend([text.embeds for text in texts], weights),
            blend(pooled, weights) if pooled else None,
        )

    def _text(self, text: str) -> Text:
        return self._texts(text, lambda: self._models.encode_text(text))

    def _condition(self, parts: list[tuple[Text, int]]) -> Condition:
        rows = sum(count for _, count in parts)
        expand, time_ids = self._models.expand, self._models.time_ids
        pooled = [(t.pooled, count) for t, count in parts if t.pooled is not None]
        return Condition(
            states=_rows([(expand(text.embeds), count) for text, count in parts]),
            pooled=_rows(pooled) if pooled else None,
            time_ids=None if time_ids is None else time_ids.expand(rows, -1),
        )


def _rows(parts: list[tuple[Tensor, int]]) -> Tensor:
    # One prompt for all rows needs no copies of it.
    expanded = [tensor.expand(count, *tensor.shape[1:]) for tensor, count in parts]
    return expanded[0] if len(expanded) == 1 else torch.cat(expanded)


def linear(embeds: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of embeddings of one shape."""
    total = sum(weights)
    if len(embeds) == 1:
        return embeds[0]
    return torch.stack([e * (w / total) for e, w in zip(embeds, weights, strict=True)]).sum(0)


def slerp(embeds: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Blend embeddings along the great circle, token by token, one after the other."""
    blended, total = embeds[0], weights[0]
    for embed, weight in zip(embeds[1:], weights[1:], strict=True):
        total += weight
        blended = slerp_between(blended, embed, weight / total)
    return blended


def slerp_between(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the point `t` of the way from `a` to `b`, vectors in the last dimension.

    Directions turn at an even rate, lengths change evenly. Where two vectors point (almost)
    the same way, or opposite ways, the straight line is taken.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    a_unit, b_unit = a / length_a.clamp(min=1e-8), b / length_b.clamp(min=1e-8)
    cos = (a_unit.float() * b_unit.float()).sum(-1, keepdim=True).clamp(-1, 1)
    angle = cos.arccos()
    sin = angle.sin()
    turned = ((1 - t) * angle).sin() / sin * a_unit + (t * angle).sin() / sin * b_unit
    turned = turned * ((1 - t) * length_a + t * length_b)
    return torch.where(sin > 1e-3, turned, (1 - t) * a + t * b).to(a.dtype)


BLENDS: dict[str, Callable[[Sequence[Tensor], Sequence[float]], Tensor]] = {
    "linear": linear,
    "slerp": slerp,
}
