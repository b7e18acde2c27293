"""Prompts on air: encoded once, blended, and what a new one does to the video's past."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from torch import Tensor

from streamcam.diffusion.conditioning import BLENDS, TEXT_CACHE_SIZE, LruCache
from streamcam.settings.parameters import Parameters

CROSS_ATTENTION = "cross-attention"
EncodeText = Callable[[str], Tensor]


class Change(NamedTuple):
    """What a chunk is to do because the prompt is another one."""

    embeds: Tensor
    """The new prompt, ``(1, L, text_dim)``."""
    kind: str
    """``recache``, ``cross-attention`` or ``restart``."""


class Prompter:
    """Keeps the prompt up to date, chunk by chunk.

    Where a prompt fades in it changes with every chunk: then the past is left alone until the
    fade is over, and dealt with once.

    Args:
        encode_text: to ``(1, L, text_dim)``, zero past the text.
        kind: what a new prompt does to the past.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        self._encode_text, self._kind = encode_text, kind
        self._texts: LruCache[Tensor] = LruCache(TEXT_CACHE_SIZE)

    def begin(self, parameters: Parameters) -> Tensor:
        """Return the prompt that a video begins with, ``(1, L, text_dim)``."""
        self._of = _asked(parameters)
        self._fading = self._owed = False
        self._embeds = self._blended(parameters)
        return self._embeds

    def follow(self, parameters: Parameters) -> Change | None:
        """Return what the next chunk has to do; None where the prompt is as it was."""
        of = _asked(parameters)
        if of == self._of:
            owed, self._fading, self._owed = self._owed, False, False
            return Change(self._embeds, self._kind) if owed else None
        self._of, self._embeds = of, self._blended(parameters)
        fading, self._fading = self._fading, True
        self._owed = fading and self._kind != CROSS_ATTENTION
        return Change(self._embeds, CROSS_ATTENTION if fading else self._kind)

    def _blended(self, parameters: Parameters) -> Tensor:
        weighted = [(text, weight) for text, weight in parameters.prompt if weight]
        embeds = [self._embedded(text) for text, _ in weighted]
        blend = BLENDS[parameters.prompt_interpolation]
        return blend(embeds, [weight for _, weight in weighted])

    def _embedded(self, text: str) -> Tensor:
        return self._texts(text, lambda: self._encode_text(text))


class PatientPrompter(Prompter):
    """A `Prompter` that nothing waits for: the old prompt rules until the new one is encoded.

    Texts are encoded on another thread, those of the newest prompt alone.
    """

    def __init__(self, encode_text: EncodeText, kind: str) -> None:
        super().__init__(encode_text, kind)
        self._thread = ThreadPoolExecutor(1, "prompts")
        self._coming: Future[list[tuple[str, Tensor]]] | None = None
        self._ruling: Parameters | None = None

    def begin(self, parameters: Parameters) -> Tensor:
        """Return the prompt that a video begins with; only the very first is waited for."""
        self._ruling = parameters if self._ruling is None else self._encoded_until(parameters)
        return super().begin(self._ruling)

    def follow(self, parameters: Parameters) -> Change | None:
        """Return what the next chunk has to do; None where the prompt is as it was."""
        self._ruling = self._encoded_until(parameters)
        return super().follow(self._ruling)

    def _encoded_until(self, parameters: Parameters) -> Parameters:
        """Return `parameters` if all its texts are encoded, else those that ruled until now."""
        assert self._ruling is not None
        if self._coming and self._coming.done():
            for text, embeds in self._coming.result():
                self._texts(text, partial(_same, embeds))
            self._coming = None
        wanted = [text for text, weight in parameters.prompt if weight]
        lacking = [text for text in wanted if text not in self._texts]
        if not lacking:
            return parameters
        if self._coming is None:
            self._coming = self._thread.submit(self._encode, lacking)
        return self._ruling

    def _encode(self, texts: Sequence[str]) -> list[tuple[str, Tensor]]:
        return [(text, self._encode_text(text)) for text in texts]


def _asked(parameters: Parameters) -> tuple[object, ...]:
    return parameters.prompt, parameters.prompt_interpolation


def _same(embeds: Tensor) -> Tensor:
    return embeds
