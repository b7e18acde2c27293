"""Test the small tokenizer."""

from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from training import text, tokenizer


@pytest.fixture(scope="module")
def learnt() -> Any:
    return tokenizer.learn(text.corpus(0, prompts=300))


def test_common_words_are_one_token_each(learnt: Any) -> None:
    expected = ["blue</w>", "neon</w>", "edges</w>", "on</w>", "black</w>"]
    assert learnt.tokenize("Blue NEON edges  on black") == expected


def test_any_text_has_known_tokens(learnt: Any) -> None:
    for new_text in ("zebra quux 12", "émile", "日本", "🎥"):
        assert learnt.unk_token_id not in learnt(new_text).input_ids[1:-1]
    assert learnt("zebra").input_ids != learnt("quux").input_ids


def test_texts_are_padded_and_truncated_to_one_length(learnt: Any) -> None:
    for prompt in ("", "neon", "word " * 100):
        ids = learnt(prompt, padding="max_length", truncation=True).input_ids
        assert len(ids) == tokenizer.TEXT_TOKENS
        assert ids[0] == learnt.bos_token_id
        assert learnt.eos_token_id in ids


def test_a_saved_tokenizer_loads_as_an_ordinary_clip_tokenizer(learnt: Any, tmp_path: Path) -> None:
    learnt.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    prompt = "a pencil sketch of a person, émile"
    assert loaded(prompt).input_ids == learnt(prompt).input_ids
    assert loaded.model_max_length == tokenizer.TEXT_TOKENS
    assert len(loaded) == len(learnt) <= tokenizer.VOCABULARY


def test_the_same_corpus_gives_the_same_tokens(learnt: Any) -> None:
    second = tokenizer.learn(text.corpus(0, prompts=300))
    assert set(second.get_vocab()) == set(learnt.get_vocab())


def test_a_training_keeps_its_first_tokenizer(tmp_path: Path) -> None:
    first = tokenizer.load_or_learn(tmp_path / "words", lambda: text.corpus(0, prompts=300))

    def refuse() -> Any:
        raise AssertionError

    loaded = tokenizer.load_or_learn(tmp_path / "words", refuse)
    assert loaded.get_vocab() == first.get_vocab()
    assert loaded("blue neon").input_ids == first("blue neon").input_ids
    assert loaded.model_max_length == tokenizer.TEXT_TOKENS
