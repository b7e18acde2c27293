"""Weighted prompts and long ones, against compel and against diffusers."""

from typing import Any

import pytest
import torch
from compel.embeddings_provider import (
    EmbeddingsProvider,
    ReturnedEmbeddingsType,
)
from torch import Tensor

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stages import Text, reading_notice
from streamcam.diffusion.text_encoding import Unit, encode_text, split_into_chunks
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, RecordingStream, moving

CPU = torch.device("cpu")
BY_NAME = {
    "tiny-sd-1.5": ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED,
    "tiny-sd-2.1": ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED,
    "tiny-sdxl": ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
}


@pytest.fixture(scope="module", params=list(BY_NAME))
def model(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, random_pipeline(request.param)


@pytest.fixture(scope="module")
def pipe(model: tuple[str, Any]) -> Any:
    return model[1]


@torch.inference_mode()
def encoded(pipe: Any, text: str, *, syntax: str = "weighted", chunks: int = 1) -> Text:
    return encode_text(pipe, text, CPU, lambda _: None, syntax=syntax, chunks=chunks)


@torch.inference_mode()
def by_diffusers(pipe: Any, text: str) -> Tensor:
    embeds: Tensor = pipe.encode_prompt(
        prompt=text, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    return embeds


@torch.inference_mode()
def by_compel(name: str, pipe: Any, words: str, weights: list[float]) -> Tensor:
    """Return compel's embeddings of `words`, whose letters (tokens) have these weights."""
    tokenizers = [pipe.tokenizer]
    encoders = [pipe.text_encoder]
    if hasattr(pipe, "text_encoder_2"):
        tokenizers.append(pipe.tokenizer_2)
        encoders.append(pipe.text_encoder_2)
    embeds = []
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        provider = EmbeddingsProvider(tokenizer, encoder, returned_embeddings_type=BY_NAME[name])
        ids = tokenizer(words, padding="max_length", return_tensors="pt").input_ids[0]
        per_token = torch.ones(len(ids))
        per_token[1 : 1 + len(weights)] = torch.tensor(weights)
        embeds.append(provider.build_weighted_embedding_tensor(ids, per_token))
    return torch.cat(embeds, -1)


@pytest.mark.parametrize(
    ("text", "words", "weights"),
    [
        ("a (cat:1.3) red", "a cat red", [1, 1.3, 1.3, 1.3, 1, 1, 1]),
        ("((a)) [cat]", "a cat", [1.21, *[1 / 1.1] * 3]),
        ("(a:0)(cat:-1)", "a cat", [0, -1, -1, -1]),
        (r"\(a\) (cat:2)", "(a) cat", [1, 1, 1, 2, 2, 2]),
    ],
)
def test_weights_give_what_compel_gives(
    model: tuple[str, Any], text: str, words: str, weights: list[float]
) -> None:
    name, pipe = model
    embeds = encoded(pipe, text).prompt_embeds
    expected = by_compel(name, pipe, words, weights)
    torch.testing.assert_close(embeds, expected, atol=1e-5, rtol=1e-5)
    assert (embeds - by_diffusers(pipe, words)).abs().max() > 1e-3


def test_a_text_without_weights_gives_what_diffusers_gives(pipe: Any) -> None:
    text = "a red cat, in the snow"
    plain = encoded(pipe, text, syntax="plain")
    assert torch.equal(plain.prompt_embeds, by_diffusers(pipe, text))
    weighted = encoded(pipe, text)
    torch.testing.assert_close(weighted.prompt_embeds, plain.prompt_embeds, atol=1e-6, rtol=1e-5)
    if plain.pooled_prompt_embeds is not None:
        torch.testing.assert_close(weighted.pooled_prompt_embeds, plain.pooled_prompt_embeds)


# The random models spell texts letter by letter.
LONG = "a" * 75 + "b" * 75 + "c" * 10


def test_a_long_text_is_the_chunks_of_diffusers_one_after_another(pipe: Any) -> None:
    embeds = encoded(pipe, LONG, syntax="plain", chunks=3).prompt_embeds
    parts = [by_diffusers(pipe, part) for part in ("a" * 75, "b" * 75, "c" * 10)]
    # A word's last letter is another token; a chunk may end within a word.
    assert embeds.shape[1] == 3 * 77
    torch.testing.assert_close(embeds[:, :75], parts[0][:, :75], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embeds[:, 154:], parts[2], atol=1e-5, rtol=1e-5)


def test_break_begins_the_next_chunk(pipe: Any) -> None:
    embeds = encoded(pipe, "a cat BREAK (a dog:1.2)", chunks=2).prompt_embeds
    torch.testing.assert_close(embeds[:, :77], by_diffusers(pipe, "a cat"), atol=1e-5, rtol=1e-5)
    dog = encoded(pipe, "(a dog:1.2)").prompt_embeds
    torch.testing.assert_close(embeds[:, 77:], dog, atol=1e-5, rtol=1e-5)


def test_a_break_without_room_is_said_and_its_words_stay(pipe: Any) -> None:
    text = encoded(pipe, "a cat BREAK a dog")
    assert text.remarks == "BREAK begins no new chunk, as prompt_chunks is 1"
    expected = by_diffusers(pipe, "a cat a dog")
    torch.testing.assert_close(text.prompt_embeds, expected, atol=1e-5, rtol=1e-5)


def test_what_no_chunk_has_room_for_is_said_with_the_remedy(pipe: Any) -> None:
    text = encoded(pipe, LONG, chunks=2)
    assert text.dropped_tokens == 10
    notice = reading_notice(LONG, text)
    assert "the last 10 tokens" in notice
    assert "reads 150 (prompt_chunks=3 reads all)" in notice
    assert not reading_notice(LONG, encoded(pipe, LONG, chunks=3))


@pytest.mark.parametrize("count", [2, 3])
def test_a_short_text_in_more_chunks_gives_the_same_image(count: int) -> None:
    def latents(chunks: int) -> Tensor:
        stream = RecordingStream(steps=1, prompt_chunks=chunks, cache_prompt_kv=chunks == 2)
        stream(moving(1))
        return stream.latents[0]

    torch.testing.assert_close(latents(count), latents(1), atol=1e-4, rtol=1e-4)


def test_all_prompts_have_as_many_tokens_whatever_their_length() -> None:
    settings = {"prompt_chunks": 4, "prompt_syntax": "weighted", "cfg_type": "full"}
    config = build_config([TINY, settings, {"negative_prompt": LONG, "prompt": "(a cat:1.2)"}])
    conditioner = Conditioner(load_image_model(config, lambda _: None))
    for prompt in ("a", LONG, [["a", 1], [LONG, 2], ["x BREAK y", 1]]):
        live = config.live.changed({"prompt": prompt})
        conditioner.prepare(live, negative=True)
        condition = conditioner(live, negative=2, positive=2)
        assert condition.encoder_hidden_states.shape[:2] == (4, 4 * 77)


# ---- chunks of units; 9 stands for a comma


def ids(chunks: list[list[Unit]]) -> list[list[int]]:
    return [[token for unit in chunk for token in unit.ids] for chunk in chunks]


def singles(*tokens: int) -> list[Unit]:
    return [Unit((token,)) for token in tokens]


@pytest.mark.parametrize(
    ("units", "expected", "dropped"),
    [
        (singles(), [[]], 0),
        (singles(1, 2, 3), [[1, 2, 3]], 0),
        (singles(1, 2, 3, 4, 5), [[1, 2, 3, 4], [5]], 0),
        (singles(1, 9, 3, 4, 5), [[1, 9], [3, 4, 5]], 0),  # Broken at the comma.
        (singles(1, 2, 3, 9, 5), [[1, 2, 3, 9], [5]], 0),
        (singles(1, 2, 3, 4, 5, 9, 7, 8, 6, 5), [[1, 2, 3, 4], [5, 9, 7, 8]], 2),
        ([*singles(1, 2, 3), Unit((4, 4))], [[1, 2, 3], [4, 4]], 0),  # Vectors stay together.
        ([Unit((1,)), Unit((2,), 1.0, True), *singles(3)], [[1], [2, 3]], 0),
        ([Unit((1,), 1.0, True)], [[1]], 0),
    ],
)
def test_chunks_are_filled_in_order(
    units: list[Unit], expected: list[list[int]], dropped: int
) -> None:
    chunks = split_into_chunks(units, size=4, limit=2, comma=9)
    assert ids(chunks.units) == expected
    assert chunks.dropped == dropped


@pytest.mark.parametrize(
    "text", ["(((a cat:9):9):9)", "(a cat:-99)", "((((", "(a cat:" + "9" * 900]
)
def test_no_weight_makes_embeddings_that_half_precision_cannot_hold(pipe: Any, text: str) -> None:
    assert torch.isfinite(encoded(pipe, text).prompt_embeds.half()).all()
