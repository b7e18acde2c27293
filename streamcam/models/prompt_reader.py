"""Say which looks a model takes from a prompt, by classifiers on what its U-Net is given.

A model folder may have a file of them. Without one nothing is said.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.embedded_model import embedded

PROMPT_READER_FILE = "prompt_reader.safetensors"
HEADS = ("look", "first_colour", "second_colour")
LABELS = "labels"
NEGATIONS = {"not", "no", "without", "never", "don't"}
"""Words that a model of names does not understand."""
DUOTONE = "duotone"
"""Look of two equal colours; elsewhere the second is that of the background."""


class PromptReader:
    """Linear classifiers of looks and colours on pooled prompt embeddings."""

    def __init__(
        self, add_embedding: Any, heads: dict[str, Tensor], labels: dict[str, list[str]]
    ) -> None:
        """`heads` are ``(labels, P + 1)``, the last column the bias; a label may be empty."""
        # A copy on the CPU: engines take the U-Net's own weights away.
        self._pool = copy.deepcopy(add_embedding).float().cpu().eval()
        self._heads = heads
        self._labels = labels

    def surprising(self, text: str, prompt_embeds: Tensor) -> str:
        """Return what `text` is understood as, or nothing if its own words say just that."""
        words = set(re.findall(r"[\w-]+", text.lower()))
        understood = self(prompt_embeds)
        named = set(re.findall(r"[\w-]+", understood)) - {"on", "and"}
        return understood if words & NEGATIONS or not named <= words else ""

    @torch.no_grad()
    def __call__(self, prompt_embeds: Tensor) -> str:
        """Return what a prompt ``(1, L, D)`` is understood as, such as "neon, blue on black"."""
        pooled = self._pool(prompt_embeds.detach().float().cpu())[0]
        look, first = (self._best(name, pooled) for name in HEADS[:2])
        second = self._best(HEADS[2], pooled, other_than=first)
        colours = (" and " if look == DUOTONE else " on ").join(filter(None, (first, second)))
        return ", ".join(filter(None, (look, colours)))

    def _best(self, head: str, pooled: Tensor, other_than: str = "") -> str:
        weights, labels = self._heads[head], self._labels[head]
        scores = weights[:, :-1] @ pooled + weights[:, -1]
        if other_than:
            scores[labels.index(other_than)] = -torch.inf
        return labels[int(scores.argmax())]


def load_prompt_reader(model: str, unet: Any) -> PromptReader | None:
    """Return the reader in the folder of `model`, or None if it has none that fits `unet`."""
    from safetensors import safe_open

    path = (embedded(model) or Path(model).expanduser()) / PROMPT_READER_FILE
    if unet.config.addition_embed_type != "text" or not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        heads = {name: file.get_tensor(name).float() for name in HEADS}
        labels = json.loads(file.metadata()[LABELS])
    if heads[HEADS[0]].shape[1] != unet.add_embedding.proj.out_features + 1:
        return None
    return PromptReader(unet.add_embedding, heads, labels)
