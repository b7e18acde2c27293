"""The model that comes with the package says how it understands a prompt."""

from pathlib import Path

import pytest
import torch

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.embedded_model import NANO
from streamcam.models.prompt_reader import load_prompt_reader
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config


@pytest.fixture(scope="module")
def models() -> ImageModel:
    fast = {"model": NANO, "offline": True, "dtype": "float32", "acceleration": "eager"}
    return load_image_model(build_config([fast]), report=lambda _: None)


def notice(models: ImageModel, prompt: object) -> str:
    conditioner = Conditioner(models)
    config = build_config([{"model": NANO, "prompt": prompt}])
    conditioner.prepare(config.live, negative=False)
    return conditioner.notice


@pytest.mark.parametrize(
    ("prompt", "understood"),
    [
        ("a cat eats spaghetti in Paris", "plain"),
        ("8-bit", "pixel art"),
        ("in the manner of an impressionist", "oil"),
        ("neon, not blue", "neon, blue"),
    ],
)
def test_a_prompt_that_does_not_name_its_look_is_explained(
    models: ImageModel, prompt: str, understood: str
) -> None:
    assert notice(models, prompt) == f"understood as: {understood}"


@pytest.mark.parametrize(
    "prompt", ["", "pencil sketch", "blue neon edges on black", "oil painting"]
)
def test_a_prompt_that_names_its_look_needs_no_words(models: ImageModel, prompt: str) -> None:
    assert notice(models, prompt) == ""


@pytest.mark.parametrize("prompt", ["😀🎉", "日本の富士山", "Привет мир", "❤️", "مرحبا", "한국어"])
def test_other_scripts_and_emoji_give_the_plain_image(models: ImageModel, prompt: str) -> None:
    assert notice(models, prompt) == "understood as: plain"


@pytest.mark.parametrize("prompt", ["pencil 😀", "thermal 日本"])
def test_they_change_nothing_about_a_look_beside_them(models: ImageModel, prompt: str) -> None:
    assert notice(models, prompt) == ""


def test_a_blend_is_explained_prompt_by_prompt(models: ImageModel) -> None:
    shares = [["a cat", 0.5], ["8-bit", 0.5]]
    assert notice(models, shares) == 'understood as: plain ("a cat") + pixel art ("8-bit")'


def test_a_model_without_the_file_is_not_explained(tmp_path: Path) -> None:
    unet = random_pipeline("tiny-sd-turbo").unet
    assert load_prompt_reader(str(tmp_path), unet) is None
    assert load_prompt_reader(NANO, unet) is None


def test_a_file_that_does_not_fit_the_model_is_left_alone(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from streamcam.models.prompt_reader import HEADS, LABELS, PROMPT_READER_FILE
    from training import model, text, tokenizer

    parts = model.build(tokenizer.learn(text.corpus(0, prompts=50)))
    heads = {name: torch.zeros(2, 9) for name in HEADS}
    save_file(heads, tmp_path / PROMPT_READER_FILE, metadata={LABELS: "{}"})
    assert load_prompt_reader(str(tmp_path), parts.unet) is None
