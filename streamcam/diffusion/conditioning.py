"""Conditioning of the U-Net: prompts encoded once, blended by weight, and cached."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.live_loras import Scales, ScaleTensor
from streamcam.diffusion.stages import Condition, Text, reading_notice, understood_notice
from streamcam.errors import PromptError, one_line
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import Prompt

Value = TypeVar("Value")

TEXT_CACHE_SIZE = 64
CONDITION_CACHE_SIZE = 4


class LruCache(Generic[Value]):
    """Cache of at most `size` results; the least recently used one is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: OrderedDict[Hashable, Value] = OrderedDict()

    def __call__(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the result for `key`, calling `make` if it is not cached."""
        if key not in self._results:
            self._results[key] = make()
            if len(self._results) > self._size:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        return self._results[key]

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the result for `key` is cached."""
        return key in self._results


class Conditioner:
    """Turn the prompts of a snapshot into the condition of a U-Net call.

    Args:
        models: the text encoders.
        lora_scales: of the calls; None for a model without LoRAs.
    """

    def __init__(self, models: ImageModel, lora_scales: ScaleTensor | None = None) -> None:
        self._models = models
        self._lora_scales = lora_scales
        self._texts: LruCache[Text] = LruCache(TEXT_CACHE_SIZE)
        self._conditions: LruCache[Condition] = LruCache(CONDITION_CACHE_SIZE)
        self.notice = ""
        """A line on how the prompts in use are understood, and on what of them is not read."""

    def prepare(self, parameters: Parameters, *, negative: bool) -> None:
        """Encode the texts of `parameters`, those of the negative prompt only if it is used.

        Raises:
            PromptError: a text cannot be encoded; nothing else has changed.
        """
        texts = texts_of(parameters, negative=negative)
        scales = self._models.loras.scales_of(parameters)
        notices = [reading_notice(text, self._text(text, scales)) for text in texts]
        named = {text: self._text(text, scales) for text, weight in parameters.prompt if weight}
        self.notice = "; ".join(filter(None, [*notices, understood_notice(named)]))

    def __call__(self, parameters: Parameters, *, negative: int, positive: int) -> Condition:
        """Return the condition of `negative` rows with the negative prompt, then `positive`."""
        negative_prompt = parameters.negative_prompt if negative else None
        interpolation = parameters.prompt_interpolation
        scales = self._models.loras.scales_of(parameters)

        def make() -> Condition:
            parts = [(self._blended(parameters.prompt, scales, interpolation), positive)]
            if negative_prompt:
                parts.insert(0, (self._blended(negative_prompt, scales, interpolation), negative))
            if self._lora_scales is not None:
                self._models.loras.for_prompt_kv(self._lora_scales.tensor)
            return self._condition(parts)

        key = (parameters.prompt, negative_prompt, interpolation, negative, positive, scales)
        return self._conditions(key, make)

    def _blended(self, prompt: Prompt, scales: Scales, interpolation: str) -> Text:
        weighted = [(text, weight) for text, weight in prompt if weight]
        texts = [self._text(text, scales) for text, _ in weighted]
        return blended(texts, [weight for _, weight in weighted], interpolation)

    def _text(self, text: str, scales: Scales) -> Text:
        knots = self._models.loras.text_scales(scales)
        encoded = [self._texts((text, at), partial(self._encoded, text, at)) for at, _ in knots]
        if len(encoded) == 1:
            return encoded[0]
        parts = blended(encoded, [weight for _, weight in knots], "linear")
        return encoded[0]._replace(
            prompt_embeds=parts.prompt_embeds, pooled_prompt_embeds=parts.pooled_prompt_embeds
        )

    def _encoded(self, text: str, scales: Scales) -> Text:
        self._models.loras.for_texts(scales)
        try:
            return self._models.encode_text(text)
        except Exception as error:  # Out of memory, or whatever the libraries raise over a text.
            raise PromptError(text, one_line(error)) from error

    def _condition(self, parts: list[tuple[Text, int]]) -> Condition:
        rows = sum(count for _, count in parts)
        add_prompt_kv, time_ids = self._models.add_prompt_kv, self._models.time_ids
        pooled = [
            (text.pooled_prompt_embeds, count)
            for text, count in parts
            if text.pooled_prompt_embeds is not None
        ]
        return Condition(
            _rows([(add_prompt_kv(text.prompt_embeds), count) for text, count in parts]),
            _rows(pooled) if pooled else None,
            time_ids=None if time_ids is None else time_ids.expand(rows, -1),
        )


def blended(texts: Sequence[Text], weights: Sequence[float], interpolation: str) -> Text:
    """Return the embeddings of `texts`, blended by their weights."""
    blend = BLENDS[interpolation]
    pooled = [text.pooled_prompt_embeds for text in texts if text.pooled_prompt_embeds is not None]
    return Text(
        blend([text.prompt_embeds for text in texts], weights),
        blend(pooled, weights) if pooled else None,
    )


def texts_of(parameters: Parameters, *, negative: bool) -> list[str]:
    """Return the texts that `parameters` use, those of the negative prompt only if it is used."""
    prompts = [parameters.prompt, *([parameters.negative_prompt] if negative else [])]
    return list(dict.fromkeys(text for prompt in prompts for text, weight in prompt if weight))


def _rows(parts: list[tuple[Tensor, int]]) -> Tensor:
    # One prompt for all rows is expanded, not copied.
    expanded = [tensor.expand(count, *tensor.shape[1:]) for tensor, count in parts]
    return expanded[0] if len(expanded) == 1 else torch.cat(expanded)


def linear(embeds: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of embeddings of one shape."""
    total = sum(weights)
    if len(embeds) == 1:
        return embeds[0]
    return torch.stack([e * (w / total) for e, w in zip(embeds, weights, strict=True)]).sum(0)


def slerp(embeds: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return embeddings blended along the great circle, token by token, one after the other."""
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
"""Blends of prompts by ``prompt_interpolation``."""
