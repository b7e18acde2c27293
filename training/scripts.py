"""Teach the text encoder that words in other scripts and emoji name no look.

Only the embeddings of bytes beyond ASCII are trained, which English prompts have none of, so that
what those mean stays the same to the bit.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training import wordings
from training.model import Parts
from training.text import embed

RANGES = (
    (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x2600, 0x27BF), (0x3041, 0x30FF), (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3), (0x0410, 0x044F), (0x0391, 0x03C9), (0x05D0, 0x05EA), (0x0621, 0x064A),
    (0x0904, 0x0939), (0x0E01, 0x0E2E), (0x00C0, 0x00FF),
)  # fmt: skip
"""Emoji, signs, kana, han, hangul, Cyrillic, Greek, Hebrew, Arabic, Devanagari, Thai, accents."""
STEPS, BATCH, RATE = 300, 48, 0.02
SEED = 6


def foreign(rng: np.random.Generator) -> str:
    """Draw one to three words of one script."""
    low, high = RANGES[int(rng.integers(len(RANGES)))]
    words = [
        "".join(chr(int(c)) for c in rng.integers(low, high + 1, int(rng.integers(1, 6))))
        for _ in range(int(rng.integers(1, 4)))
    ]
    # Emoji often end with the sign that asks for their coloured form.
    return " ".join(words) + ("\ufe0f" if rng.random() < 0.2 else "")


def trainable_tokens(parts: Parts, seed: int = SEED) -> Tensor:
    """Return the tokens of other scripts that no English prompt has."""
    rng = np.random.default_rng((seed, 0))
    texts = [foreign(rng) for _ in range(1000)]
    others, english = (
        {token for ids in parts.tokenizer(each, truncation=True).input_ids for token in ids}
        for each in (texts, wordings.vocabulary())
    )
    special = set(parts.tokenizer.all_special_ids)
    return torch.tensor(sorted(others - english - special))


def teach_scripts(parts: Parts, seed: int = SEED, steps: int = STEPS) -> tuple[float, float]:
    """Train the embeddings of other scripts; return the first and the last loss."""
    rng = np.random.default_rng((seed, 1))
    with torch.no_grad():
        unknown = [wordings.unknown(rng) for _ in range(200)]
        plain = _pooled(parts, unknown).mean(0)
    table = parts.text_encoder.get_input_embeddings().weight
    tokens = trainable_tokens(parts, seed)
    rows = table[tokens].detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([rows], lr=RATE)
    losses = []
    for step in range(steps):
        names, wanted = [], []
        for _ in range(BATCH):
            text = foreign(rng)
            named = rng.random() < 0.35
            look = wordings.example(rng).prompt if named else ""
            names.append(f"{look} {text}".strip())
            wanted.append(look)
        with torch.no_grad():
            goals = _pooled(parts, wanted)
            goals[[not look for look in wanted]] = plain
            table[tokens] = rows
        # The rows take part through a copy of the table, so that no other row can change.
        pooled = _pooled_with(parts, names, tokens, rows)
        loss = F.smooth_l1_loss(pooled, goals)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimiser.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        table[tokens] = rows
    return float(np.mean(losses[:5])), float(np.mean(losses[-5:]))


def _pooled(parts: Parts, texts: Sequence[str]) -> Tensor:
    pooled: Tensor = parts.unet.add_embedding(embed(parts, texts))
    return pooled


def _pooled_with(parts: Parts, texts: Sequence[str], tokens: Tensor, rows: Tensor) -> Tensor:
    weight = "embeddings.token_embedding.weight"
    names = [name for name, _ in parts.text_encoder.named_parameters() if name.endswith(weight)]
    table = parts.text_encoder.get_parameter(names[0]).detach().index_copy(0, tokens, rows)
    ids = parts.tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    states = torch.func.functional_call(parts.text_encoder, {names[0]: table}, (ids,))[0]
    pooled: Tensor = parts.unet.add_embedding(states)
    return pooled
