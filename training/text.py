"""Embed prompts, and pretrain the text encoder to classify looks and colours."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import wordings
from training.looks import COLOURS, LOOKS
from training.model import Parts

CORPUS_PROMPTS = 6000
CORPUS_REPEATS = 30


def corpus(seed: int, prompts: int = CORPUS_PROMPTS) -> Iterator[str]:
    """Yield texts for the tokenizer: every wording, then random prompts."""
    rng = np.random.default_rng((seed, 1))
    for phrase in wordings.vocabulary():
        yield from [phrase] * CORPUS_REPEATS
    for _ in range(prompts):
        yield wordings.example(rng).prompt


def embed(parts: Parts, texts: Sequence[str]) -> Tensor:
    """Return ``(texts, L, D)`` as the pipeline's `encode_prompt` does."""
    tokens = parts.tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    )
    states: Tensor = parts.text_encoder(tokens.input_ids.to(parts.text_encoder.device))[0]
    return states


def blended(states: Tensor, rows: Sequence[int], weights: Sequence[float]) -> Tensor:
    """Return ``(max(rows) + 1, L, D)``: sums of `states` by row, as in linear prompt blends."""
    index = torch.tensor(rows, device=states.device)
    share = torch.tensor(weights, device=states.device, dtype=states.dtype).view(-1, 1, 1)
    empty = states.new_zeros(max(rows) + 1, *states.shape[1:])
    return empty.index_add(0, index, states * share)


class PromptClassifier(nn.Module):
    """Linear classifiers of the look and up to two colours of a pooled prompt ``(n, P)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.looks = list(LOOKS)
        self.colours = [None, *COLOURS]
        self.heads = nn.ModuleList(
            nn.Linear(width, count)
            for count in (len(self.looks), len(self.colours), len(self.colours))
        )

    def forward(self, pooled: Tensor, examples: Sequence[wordings.Example]) -> dict[str, Tensor]:
        labels = torch.tensor([self._labels(e) for e in examples], device=pooled.device)
        losses = [
            F.cross_entropy(head(pooled).float(), labels[:, i]) for i, head in enumerate(self.heads)
        ]
        correct = self.heads[0](pooled).argmax(-1) == labels[:, 0]
        return {"loss": losses[0] + losses[1] + losses[2], "accuracy": correct.float().mean()}

    def _labels(self, example: wordings.Example) -> tuple[int, int, int]:
        first, second, *_ = (*example.colours, None, None)
        return (
            self.looks.index(example.look),
            self.colours.index(first),
            self.colours.index(second),
        )


def classification_loss(
    parts: Parts, classifier: PromptClassifier, rng: np.random.Generator, batch: int
) -> dict[str, Tensor]:
    """Return the ``loss`` and accuracy of classifying random prompts by look and colours."""
    examples = [wordings.example(rng) for _ in range(batch)]
    states = embed(parts, [e.prompt for e in examples])
    terms: dict[str, Tensor] = classifier(parts.unet.add_embedding(states), examples)
    return terms


def sample_states(parts: Parts, seed: int, count: int = 800) -> Tensor:
    """Return embeddings ``(count, L, D)`` of random prompts, for whitening."""
    rng = np.random.default_rng((seed, 2))
    with torch.no_grad():
        return embed(parts, [wordings.example(rng).prompt for _ in range(count)])
