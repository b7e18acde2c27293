"""Track prompt changes: encode and blend prompts, and decide how the cache follows."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from torch import Tensor

from streamcam.diffusion.conditioning import BLENDS, TEXT_CACHE_SIZE, LruCache
from streamcam.errors import PromptError, one_line
from streamcam.settings.parameters import Parameters

CROSS_ATTENTION = "cross-attention"
EncodeText = Callable[[str], Tensor]


class PromptChange(NamedTuple):
    """New prompt, and how the cached past adapts to it."""

    embeds: Tensor
    """The new prompt, ``(1, L, text_dim)``."""
    kind: str
    """``recache``, ``cross-attention`` or ``restart``."""


class PromptTracker:
    """Follows the prompt from chunk to chunk, and waits for its encoding.

    A prompt that fades in changes with every chunk: then the cached past stays as it is until the
    fade is over, and adapts once.

    Args:
        encode_text: to ``(1, L, text_dim)``, zero past the text.
        kind: how the cached past adapts: ``recache``, ``cross-attention`` or ``restart``.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        self._encode_text, self._kind = encode_text, kind
        self._embeds_by_text: LruCache[Tensor] = LruCache(TEXT_CACHE_SIZE)

    def start(self, parameters: Parameters) -> Tensor:
        """Return the first prompt of a video, ``(1, L, text_dim)``."""
        self._key = _prompt_key(parameters)
        self._fading = self._recache_due = False
        self._embeds = self._blend(parameters)
        return self._embeds

    def update(self, parameters: Parameters) -> PromptChange | None:
        """Return the change of prompt for the next chunk; None where there is none."""
        key = _prompt_key(parameters)
        if key == self._key:
            recache_due, self._fading, self._recache_due = self._recache_due, False, False
            return PromptChange(self._embeds, self._kind) if recache_due else None
        self._key, self._embeds = key, self._blend(parameters)
        fading, self._fading = self._fading, True
        self._recache_due = fading and self._kind != CROSS_ATTENTION
        return PromptChange(self._embeds, CROSS_ATTENTION if fading else self._kind)

    def check(self, parameters: Parameters) -> None:
        """Raise PromptError for texts that are known not to be encodable."""

    def _blend(self, parameters: Parameters) -> Tensor:
        weighted = [(text, weight) for text, weight in parameters.prompt if weight]
        embeds = [self._embed(text) for text, _ in weighted]
        blend = BLENDS[parameters.prompt_interpolation]
        return blend(embeds, [weight for _, weight in weighted])

    def _embed(self, text: str) -> Tensor:
        return self._embeds_by_text(text, lambda: self._encode(text))

    def _encode(self, text: str) -> Tensor:
        try:
            return self._encode_text(text)
        except Exception as error:  # Out of memory, or whatever the libraries raise over a text.
            raise PromptError(text, one_line(error)) from error


class BackgroundPromptTracker(PromptTracker):
    """Keeps the old prompt until the new one is encoded in the background.

    Texts are encoded on another thread, those of the newest prompt alone.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        super().__init__(encode_text, kind)
        self._thread = ThreadPoolExecutor(1, "prompts")
        self._encoding: Future[list[tuple[str, Tensor]]] | None = None
        self._current: Parameters | None = None
        self._failed: dict[str, str] = {}
        """Reasons by text; an error itself would keep what was on the device alive."""

    def start(self, parameters: Parameters) -> Tensor:
        """Return the first prompt of a video; only the very first one is waited for."""
        self._current = parameters if self._current is None else self._latest_encoded(parameters)
        return super().start(self._current)

    def update(self, parameters: Parameters) -> PromptChange | None:
        """Return the change of prompt for the next chunk; None where there is none."""
        self._current = self._latest_encoded(parameters)
        return super().update(self._current)

    def check(self, parameters: Parameters) -> None:
        """Raise PromptError, again and again, for a text whose encoding has failed."""
        for text, weight in parameters.prompt:
            if weight and text in self._failed:
                raise PromptError(text, self._failed[text])

    def _latest_encoded(self, parameters: Parameters) -> Parameters:
        """Return `parameters` if all its texts are encoded, else those in use until now."""
        assert self._current is not None
        if self._encoding and self._encoding.done():
            self._take(self._encoding)
            self._encoding = None
        wanted = [text for text, weight in parameters.prompt if weight]
        missing = [text for text in wanted if text not in self._embeds_by_text]
        if not missing:
            return parameters
        if self._encoding is None and not any(text in self._failed for text in missing):
            self._encoding = self._thread.submit(self._encode_all, missing)
        return self._current

    def _take(self, encoding: "Future[list[tuple[str, Tensor]]]") -> None:
        """Keep the texts that have been encoded, or the one that could not be."""
        try:
            encoded = encoding.result()
        except PromptError as error:
            self._failed[error.text] = error.why
            return
        for text, embeds in encoded:
            self._embeds_by_text(text, partial(_same, embeds))

    def _encode_all(self, texts: Sequence[str]) -> list[tuple[str, Tensor]]:
        return [(text, self._encode(text)) for text in texts]


def _prompt_key(parameters: Parameters) -> tuple[object, ...]:
    return parameters.prompt, parameters.prompt_interpolation


def _same(embeds: Tensor) -> Tensor:
    return embeds
