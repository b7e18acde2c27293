"""Textual-inversion embeddings add words to a model, and are refused where they do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.text_encoding import encode_text
from streamcam.errors import ModelError
from streamcam.models import checkpoint
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config

CPU = torch.device("cpu")
SD, SDXL = "random:tiny-sd-1.5", "random:tiny-sdxl"


def drawn(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def saved(folder: Path, name: str = "style.safetensors", **tensors: Tensor) -> str:
    save_file(tensors, folder / name)
    return str(folder / name)


def loaded(*embeddings: str, model: str = SD) -> tuple[Any, list[str]]:
    lines: list[str] = []
    config = build_config([{"model": model, "embedding": list(embeddings), "offline": True}])
    return checkpoint.load_pipeline(config, torch.float32, lines.append), lines


@torch.inference_mode()
def embeds(pipe: Any, text: str, **settings: Any) -> Tensor:
    return encode_text(pipe, text, CPU, lambda _: None, **settings).prompt_embeds


@torch.inference_mode()
def by_diffusers(pipe: Any, text: str) -> Tensor:
    result: Tensor = pipe.encode_prompt(
        prompt=text, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    return result


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"syntax": "weighted"}])
def test_a_word_gives_what_it_gives_in_diffusers(
    tmp_path: Path, rows: int, settings: dict[str, Any]
) -> None:
    vectors = drawn(rows, 32)
    pipe, lines = loaded(f"{saved(tmp_path, emb_params=vectors)}:<x>")
    reference = random_pipeline("tiny-sd-1.5")
    reference.load_textual_inversion(vectors, token="<x>")
    ours = embeds(pipe, "a <x> cat", **settings)
    torch.testing.assert_close(ours, by_diffusers(reference, "a <x> cat"), atol=1e-6, rtol=1e-5)
    assert (ours - embeds(pipe, "a y cat")).abs().max() > 1e-2
    assert any(f'"<x>", of {rows} vector' in line for line in lines)


def test_sdxl_takes_a_file_with_vectors_for_both_encoders(tmp_path: Path) -> None:
    first, second = drawn(2, 32), drawn(2, 64)
    pipe, _ = loaded(
        saved(tmp_path, "neg-hand.safetensors", clip_l=first, clip_g=second), model=SDXL
    )
    reference = random_pipeline("tiny-sdxl")
    for vectors, tokenizer, encoder in (
        (first, reference.tokenizer, reference.text_encoder),
        (second, reference.tokenizer_2, reference.text_encoder_2),
    ):
        reference.load_textual_inversion(
            vectors, token="neg-hand", tokenizer=tokenizer, text_encoder=encoder
        )
    expected = by_diffusers(reference, "a neg-hand cat")
    torch.testing.assert_close(embeds(pipe, "a neg-hand cat"), expected, atol=1e-6, rtol=1e-5)


def test_the_word_is_that_of_the_file_else_the_files_name(tmp_path: Path) -> None:
    named = saved(tmp_path, "a.safetensors", **{"<cat-toy>": drawn(1, 32)})
    unnamed = saved(tmp_path, "EasyNegative.safetensors", emb_params=drawn(1, 32, seed=1))
    pipe, lines = loaded(named, unnamed)
    words = ["<cat-toy>", "EasyNegative"]
    assert all(any(f'"{word}"' in line for line in lines) for word in words)
    assert all(word in pipe.tokenizer.get_vocab() for word in words)


def test_a_weight_on_a_word_counts_for_all_its_vectors(tmp_path: Path) -> None:
    pipe, _ = loaded(f"{saved(tmp_path, emb_params=drawn(3, 32))}:<x>")
    plain, none = embeds(pipe, "<x>"), embeds(pipe, "")
    half = embeds(pipe, "(<x>:0.5)", syntax="weighted")
    torch.testing.assert_close(half[:, 1:4], (plain + none)[:, 1:4] / 2, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(half[:, 4:], plain[:, 4:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "tensors", "complaint"),
    [
        (SD, {"emb_params": drawn(1, 48)}, r"for another base model: its shape is \(1, 48\)"),
        (SD, {"clip_l": drawn(1, 32), "clip_g": drawn(1, 64)}, "for another base model: it holds"),
        (SDXL, {"emb_params": drawn(1, 32)}, "for another base model: it holds emb_params"),
        (SD, {"emb_params": drawn(1, 32) * torch.nan}, "values that are no numbers"),
        (SD, {"emb_params": torch.zeros(1, 1, 32)}, "for another base model: its shape"),
        (SD, {"emb_params": torch.zeros(0, 32)}, "for another base model: its shape"),
        (SD, {"a</w>": drawn(1, 32)}, 'the word "a</w>" .* is in the vocabulary already; give it'),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, model: str, tensors: dict[str, Tensor], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        loaded(saved(tmp_path, **tensors), model=model)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("x.pt", "x.pt is pickled"), ("x.safetensors", 'no model "x.safetensors"'), (".", "holds 0")],
)
def test_a_file_that_is_not_there_is_refused(name: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=complaint):
        loaded(str(tmp_path) if name == "." else name)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not a file")
    with pytest.raises(ModelError, match=r"x\.safetensors is damaged"):
        loaded(str(tmp_path / "x.safetensors"))


def test_a_stream_runs_with_embeddings_named_in_its_settings(tmp_path: Path) -> None:
    file = saved(tmp_path, emb_params=drawn(2, 32))
    settings = {"model": SD, "width": 64, "height": 64, "embedding": [f"{file}:<x>"]}
    fast = {"dtype": "float32", "acceleration": "eager", "prompt_chunks": 2}
    models = load_image_model(build_config([settings, fast]), lambda _: None)
    assert models.encode_text("a <x>").prompt_embeds.shape == (1, 154, 32)
