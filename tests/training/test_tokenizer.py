"""The small tokenizer."""

from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from training import text, tokenizer


@pytest.fixture(scope="module")
def learnt() -> Any:
    return tokenizer.learn(text.corpus(0, prompts=300))


def test_common_words_are_one_token_each(learnt: Any) -> None:
    wanted = ["blue</w>", "neon</w>", "edges</w>", "on</w>", "black</w>"]
    assert learnt.tokenize("Blue NEON edges  on black") == wanted


def test_any_text_at_all_has_tokens_of_its_own(learnt: Any) -> None:
    for unheard_of in ("zebra quux 12", "émile", "日本", "🎥"):
        assert learnt.unk_token_id not in learnt(unheard_of).input_ids[1:-1]
    assert learnt("zebra").input_ids != learnt("quux").input_ids


def test_texts_are_padded_and_cut_to_one_length(learnt: Any) -> None:
    for prompt in ("", "neon", "word " * 100):
        ids = learnt(prompt, padding="max_length", truncation=True).input_ids
        assert len(ids) == tokenizer.TEXT_TOKENS
        assert ids[0] == learnt.bos_token_id
        assert learnt.eos_token_id in ids


def test_it_comes_back_from_disk_as_an_ordinary_clip_tokenizer(learnt: Any, tmp_path: Path) -> None:
    learnt.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    prompt = "a pencil sketch of a person, émile"
    assert loaded(prompt).input_ids == learnt(prompt).input_ids
    assert loaded.model_max_length == tokenizer.TEXT_TOKENS
    assert len(loaded) == len(learnt) <= tokenizer.VOCABULARY


def test_the_same_corpus_gives_the_same_tokens(learnt: Any) -> None:
    again = tokenizer.learn(text.corpus(0, prompts=300))
    assert set(again.get_vocab()) == set(learnt.get_vocab())


def test_a_training_stays_with_its_first_tokenizer(tmp_path: Path) -> None:
    first = tokenizer.load_or_learn(tmp_path / "words", lambda: text.corpus(0, prompts=300))

    def refuse() -> Any:
        raise AssertionError

    again = tokenizer.load_or_learn(tmp_path / "words", refuse)
    assert again.get_vocab() == first.get_vocab()
    assert again("blue neon").input_ids == first("blue neon").input_ids
    assert again.model_max_length == tokenizer.TEXT_TOKENS
