"""Load textual-inversion embeddings: words that files add to a model's vocabulary."""

import re
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError, one_line
from streamcam.models import model_files
from streamcam.models.families import Report
from streamcam.models.weights import explain_load_errors, safe_tensors
from streamcam.settings.config import Config

FIRST_NAMES, SECOND_NAMES = ("clip_l", "text_encoders_0"), ("clip_g", "text_encoders_1")
"""Names of the vectors for the first and the second text encoder of SDXL."""
UNNAMED = "emb_params"


def load_embeddings(pipe: Any, config: Config, report: Report) -> None:
    """Add the embeddings that `config` names to the tokenizers and text encoders of `pipe`.

    Raises:
        ModelError: one is missing, damaged, for another base model, or its word is taken.
    """
    for name, given in config.embedding.items():
        file = model_files.embedding_file(name, offline=config.offline)
        with explain_load_errors(f"embedding {file}", file, "get it again"):
            tensors, _ = safe_tensors(file)
        word = given or _word(tensors, file)
        parts = _parts(pipe, tensors, file, config.model)
        for (tokenizer, encoder), vectors in parts:
            _add(pipe, word, vectors, tokenizer, encoder, file)
        report(f'embedding {name}: "{word}", of {len(parts[0][1])} vectors')


def added_vectors(tokenizer: Any) -> dict[int, tuple[int, ...]]:
    """Return the tokens of every embedding of several vectors, by the first of them."""
    added: Mapping[str, int] = tokenizer.added_tokens_encoder
    vectors = {}
    for word, first in added.items():
        names = takewhile(added.__contains__, (f"{word}_{number}" for number in count(1)))
        if rest := tuple(added[name] for name in names):
            vectors[first] = (first, *rest)
    return vectors


def _word(tensors: Mapping[str, Tensor], file: Path) -> str:
    """Return the word that the file gives, else the name of the file."""
    names = list(tensors)
    if len(names) == 1 and names[0] != UNNAMED:
        return names[0]
    return re.sub(r"\s+", "_", file.stem)


def _parts(
    pipe: Any, tensors: Mapping[str, Tensor], file: Path, model: str
) -> list[tuple[tuple[Any, Any], Tensor]]:
    """Return the vectors for each pair of a tokenizer and a text encoder."""
    pairs = [(pipe.tokenizer, pipe.text_encoder)]
    if getattr(pipe, "text_encoder_2", None) is not None:
        pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
        wanted = (FIRST_NAMES, SECOND_NAMES)
        found = [
            next((tensors[name] for name in names if name in tensors), None) for names in wanted
        ]
    else:
        found = [next(iter(tensors.values()))] if len(tensors) == 1 else []
    vectors = [tensor for tensor in found if tensor is not None]
    if len(vectors) != len(pairs):
        holds = ", ".join(tensors)[:80] or "nothing"
        raise ModelError(
            f"embedding {file} is for another base model: it holds {holds}, and {model} has"
            f" {len(pairs)} text encoder{'s' if len(pairs) > 1 else ''}; choose one made for it"
        )
    return [
        (pair, _checked(tensor, pair[1], file, model))
        for pair, tensor in zip(pairs, vectors, strict=True)
    ]


def _checked(tensor: Tensor, encoder: Any, file: Path, model: str) -> Tensor:
    vectors = tensor.unsqueeze(0) if tensor.ndim == 1 else tensor
    width = encoder.get_input_embeddings().weight.shape[1]
    if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != width:
        raise ModelError(
            f"embedding {file} is for another base model: its shape is {tuple(tensor.shape)}, and"
            f" the vectors of {model} are {width} wide; choose one made for it"
        )
    if not torch.isfinite(vectors.float()).all():
        raise ModelError(
            f"embedding {file} holds values that are no numbers (NaN or infinity); choose another"
        )
    return vectors


def _add(pipe: Any, word: str, vectors: Tensor, tokenizer: Any, encoder: Any, file: Path) -> None:
    try:
        pipe.load_textual_inversion(vectors, token=word, tokenizer=tokenizer, text_encoder=encoder)
    except ValueError as error:
        if word not in tokenizer.get_vocab() and f"{word}_1" not in tokenizer.get_vocab():
            raise ModelError(f"embedding {file}: {one_line(error)}") from None
        raise ModelError(
            f'the word "{word}" of embedding {file} is in the vocabulary already; give it another'
            " with --embedding FILE:WORD"
        ) from None
