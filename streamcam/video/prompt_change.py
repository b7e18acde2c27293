"""Prompts on air: encoded once, blended, and what a new one does to the video's past."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from torch import Tensor

from streamcam.diffusion.conditioning import BLENDS, TEXTS_KEPT, Memo
from streamcam.settings.parameters import Parameters

CROSS_ATTENTION = "cross-attention"
EncodeText = Callable[[str], Tensor]


class PromptChange(NamedTuple):
    """What a chunk is to do because the prompt is another one."""

    embeds: Tensor
    """The new prompt, ``(1, L, text_dim)``."""
    kind: str
    """``recache``, ``cross-attention`` or ``restart``."""


class PromptTracker:
    """Keeps the prompt up to date, chunk by chunk.

    Where a prompt fades in it changes with every chunk: then the past is left alone until the
    fade is over, and dealt with once.

    Args:
        encode_text: to ``(1, L, text_dim)``, zero past the text.
        kind: what a new prompt does to the past.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        self._encode_text, self._kind = encode_text, kind
        self._embeds_by_text: Memo[Tensor] = Memo(TEXTS_KEPT)

    def start(self, parameters: Parameters) -> Tensor:
        """Return the prompt that a video begins with, ``(1, L, text_dim)``."""
        self._key = _prompt_key(parameters)
        self._fading = self._recache_due = False
        self._embeds = self._blended(parameters)
        return self._embeds

    def update(self, parameters: Parameters) -> PromptChange | None:
        """Return what the next chunk has to do; None where the prompt is as it was."""
        key = _prompt_key(parameters)
        if key == self._key:
            recache_due, self._fading, self._recache_due = self._recache_due, False, False
            return PromptChange(self._embeds, self._kind) if recache_due else None
        self._key, self._embeds = key, self._blended(parameters)
        fading, self._fading = self._fading, True
        self._recache_due = fading and self._kind != CROSS_ATTENTION
        return PromptChange(self._embeds, CROSS_ATTENTION if fading else self._kind)

    def _blended(self, parameters: Parameters) -> Tensor:
        weighted = [(text, weight) for text, weight in parameters.prompt if weight]
        embeds = [self._embedded(text) for text, _ in weighted]
        blend = BLENDS[parameters.prompt_interpolation]
        return blend(embeds, [weight for _, weight in weighted])

    def _embedded(self, text: str) -> Tensor:
        return self._embeds_by_text(text, lambda: self._encode_text(text))


class BackgroundPromptTracker(PromptTracker):
    """A `PromptTracker` that nothing waits for: the old prompt rules until the new one is encoded.

    Texts are encoded on another thread, those of the newest prompt alone.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        super().__init__(encode_text, kind)
        self._thread = ThreadPoolExecutor(1, "prompts")
        self._encoding: Future[list[tuple[str, Tensor]]] | None = None
        self._current: Parameters | None = None

    def start(self, parameters: Parameters) -> Tensor:
        """Return the prompt that a video begins with; only the very first is waited for."""
        self._current = parameters if self._current is None else self._latest_encoded(parameters)
        return super().start(self._current)

    def update(self, parameters: Parameters) -> PromptChange | None:
        """Return what the next chunk has to do; None where the prompt is as it was."""
        self._current = self._latest_encoded(parameters)
        return super().update(self._current)

    def _latest_encoded(self, parameters: Parameters) -> Parameters:
        """Return `parameters` if all its texts are encoded, else those that ruled until now."""
        assert self._current is not None
        if self._encoding and self._encoding.done():
            for text, embeds in self._encoding.result():
                self._embeds_by_text(text, partial(_same, embeds))
            self._encoding = None
        wanted = [text for text, weight in parameters.prompt if weight]
        missing = [text for text in wanted if text not in self._embeds_by_text]
        if not missing:
            return parameters
        if self._encoding is None:
            self._encoding = self._thread.submit(self._encode, missing)
        return self._current

    def _encode(self, texts: Sequence[str]) -> list[tuple[str, Tensor]]:
        return [(text, self._encode_text(text)) for text in texts]


def _prompt_key(parameters: Parameters) -> tuple[object, ...]:
    return parameters.prompt, parameters.prompt_interpolation


def _same(embeds: Tensor) -> Tensor:
    return embeds
