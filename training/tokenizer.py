"""Learn a small CLIP tokenizer from the wordings, with one token per common word."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

TEXT_TOKENS = 24
"""Few, so that padding does not drown the prompt."""
VOCABULARY = 1500
MIN_FREQUENCY = 3
START, END = "<|startoftext|>", "<|endoftext|>"


def load_or_learn(folder: Path, corpus: Callable[[], Iterable[str]]) -> Any:
    """Return the `CLIPTokenizer` in `folder`, learnt from `corpus` if there is none yet.

    The order of equally frequent pairs is not defined, so a training must keep its tokenizer.
    """
    import transformers

    if not folder.exists():
        partial = folder.with_suffix(".partial")
        learn(corpus()).save_pretrained(partial)
        partial.replace(folder)
    return transformers.CLIPTokenizer.from_pretrained(folder)


def learn(corpus: Iterable[str], size: int = VOCABULARY) -> Any:
    """Return a `CLIPTokenizer` whose merges come from `corpus`.

    Every byte is also a token, so that no text is unknown.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    blank = _clip({START: 0, END: 1}, [])
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size - 2,
        min_frequency=MIN_FREQUENCY,
        end_of_word_suffix="</w>",
        initial_alphabet=bytes_,
        show_progress=False,
    )
    learner.train_from_iterator(corpus, trainer)
    merges = _pairs(json.loads(learner.to_str())["model"]["merges"])
    merges = merges[: size - 2 * len(bytes_) - 2]
    words = [*bytes_, *(f"{b}</w>" for b in bytes_), *(a + b for a, b in merges), START, END]
    # Two merges may make one word.
    return _clip({word: i for i, word in enumerate(dict.fromkeys(words))}, merges)


def _pairs(merges: list[Any]) -> list[tuple[str, str]]:
    # Versions of the library differ in how they write a pair.
    split = [m.split(" ") if isinstance(m, str) else m for m in merges]
    return [(a, b) for a, b in split]


def _clip(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    import transformers

    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_TOKENS)
