"""Prompts on air: encoded once, blended, and what a new one does to the video's past."""

from typing import NamedTuple

from torch import Tensor

from streamcam.diffusion.conditioning import BLENDS, TEXTS_KEPT, Memo
from streamcam.parameters import Parameters
from streamcam.video.models import Models

CROSS_ATTENTION = "cross-attention"


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
        models: the stages.
        kind: what a new prompt does to the past.
    """

    def __init__(self, models: Models, kind: str) -> None:
        self._models, self._kind = models, kind
        self._texts: Memo[Tensor] = Memo(TEXTS_KEPT)

    def begin(self, parameters: Parameters) -> Tensor:
        """Return the prompt that a video begins with, ``(1, L, text_dim)``."""
        self._of = (parameters.prompt, parameters.prompt_interpolation)
        self._fading = self._owed = False
        self._embeds = self._encoded(parameters)
        return self._embeds

    def follow(self, parameters: Parameters) -> Change | None:
        """Return what the next chunk has to do; None where the prompt is as it was."""
        of = (parameters.prompt, parameters.prompt_interpolation)
        if of == self._of:
            owed, self._fading, self._owed = self._owed, False, False
            return Change(self._embeds, self._kind) if owed else None
        self._of, self._embeds = of, self._encoded(parameters)
        fading, self._fading = self._fading, True
        self._owed = fading and self._kind != CROSS_ATTENTION
        return Change(self._embeds, CROSS_ATTENTION if fading else self._kind)

    def _encoded(self, parameters: Parameters) -> Tensor:
        weighted = [(text, weight) for text, weight in parameters.prompt if weight]
        embeds = [self._embedded(text) for text, _ in weighted]
        blend = BLENDS[parameters.prompt_interpolation]
        return blend(embeds, [weight for _, weight in weighted])

    def _embedded(self, text: str) -> Tensor:
        return self._texts(text, lambda: self._models.encode_text(text))
