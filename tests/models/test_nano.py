"""Quality of nano, the model that comes with the package."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.embedded_model import NANO, embedded
from streamcam.settings.config_layers import build_config
from streamcam.settings.presets import load_preset
from streamcam.types import Frame, Image
from training import looks
from training.dataset import scene
from training.measures import edge_correlation, psnr

SIZE = 256
SCENES = 3
LINES = [name for name, look in looks.LOOKS.items() if look.lines]
RECOLOURED = ("thermal", "sepia", "night vision", "black and white", "negative")
UNKNOWN = "a cat eats spaghetti in Paris"


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return load_image_model(build_config([settings()]), report=lambda _: None)


@pytest.fixture(scope="module")
def scenes() -> list[Image]:
    """Scenes that no training draws."""
    return [scene(0, index, SIZE, held_out=True) for index in range(SCENES)]


def settings(**overrides: Any) -> dict[str, Any]:
    return {"model": NANO, "offline": True, "dtype": "float32", "acceleration": "eager"} | overrides


def painted(models: ImageModel, images: Sequence[Image], **overrides: Any) -> list[Image]:
    config = build_config([settings(use_denoising_batch=False, **overrides)])
    stream = DiffusionStream(models, config)
    frames = [Frame(image, i, 0.0) for i, image in enumerate(images)]
    return [out.image for frame in frames for out in stream(frame, config.live)]


def nearness(made: Sequence[Image], wanted: Sequence[Image]) -> float:
    return float(np.mean([psnr(*pair) for pair in zip(made, wanted, strict=True)]))


def distance(one: Sequence[Image], other: Sequence[Image]) -> float:
    return float(np.abs(np.stack(one).astype(float) - np.stack(other)).mean())


def test_it_is_small_and_holds_no_pickles() -> None:
    folder = embedded(NANO)
    assert folder is not None
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 12_000_000
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt", ".toml", ".md"}
    assert not any(b"/" + b"home/" in file.read_bytes() for file in files if file.suffix == ".json")


def test_an_empty_prompt_gives_back_the_camera(models: ImageModel, scenes: list[Image]) -> None:
    assert nearness(painted(models, scenes, prompt=""), scenes) > 24


def test_an_unknown_prompt_gives_the_plain_image(models: ImageModel, scenes: list[Image]) -> None:
    assert nearness(painted(models, scenes, prompt=UNKNOWN), scenes) > 22


@pytest.mark.parametrize("look", [look for look in looks.LOOKS if look != looks.PLAIN])
def test_every_look_comes_nearer_to_its_target(
    models: ImageModel, scenes: list[Image], look: str
) -> None:
    count = min(looks.LOOKS[look].colours)
    colours = ("blue", "yellow")[:count]
    targets = [looks.render(image, look, colours) for image in scenes]
    made = painted(models, scenes, prompt=" ".join((*colours, look)))
    assert nearness(made, targets) > nearness(scenes, targets)


@pytest.mark.parametrize(
    ("preset", "colours"),
    [
        ("duotone", ("purple", "gold")),
        *((name, ()) for name in ("cartoon", "comic", "ink", "neon")),
        *((name, ()) for name in ("oil", "pencil", "pixel-art", "watercolour")),
    ],
)
def test_a_preset_s_look_is_one_that_it_knows(
    models: ImageModel, scenes: list[Image], preset: str, colours: tuple[str, ...]
) -> None:
    look = preset.replace("-", " ")
    targets = [looks.render(image, look, colours) for image in scenes]
    made = painted(models, scenes, **(load_preset(preset) | {"model": NANO}))
    assert nearness(made, targets) > nearness(scenes, targets) + 2


@pytest.mark.parametrize("look", LINES)
def test_lines_are_where_they_belong(models: ImageModel, scenes: list[Image], look: str) -> None:
    made = painted(models, scenes, prompt=look)
    pairs = zip(made, (looks.render(image, look) for image in scenes), strict=True)
    assert np.mean([edge_correlation(*pair) for pair in pairs]) >= 0.6


@pytest.mark.parametrize("look", ["neon", "watercolour", "negative", "thermal", "halftone"])
@pytest.mark.parametrize("late", [(32, 45), (40, 43, 46), (36, 40, 44, 47)])
def test_several_late_steps_look_no_worse_than_one(
    models: ImageModel, scenes: list[Image], look: str, late: tuple[int, ...]
) -> None:
    targets = [looks.render(image, look) for image in scenes]
    one = nearness(painted(models, scenes, prompt=look), targets)
    several = nearness(painted(models, scenes, prompt=look, t_index_list=late), targets)
    # Above 26 dB a difference is not seen.
    assert several > min(one - 3, 26)


def test_a_colour_goes_where_it_is_asked_for(models: ImageModel, scenes: list[Image]) -> None:
    blue, red = (
        np.stack(painted(models, scenes, prompt=f"{colour} neon edges on black"))
        for colour in ("blue", "red")
    )
    assert blue[..., 2].mean() > 1.5 * red[..., 2].mean()
    assert red[..., 0].mean() > 1.5 * blue[..., 0].mean()


@pytest.mark.parametrize("look", RECOLOURED)
def test_more_guidance_and_more_strength_do_more(
    models: ImageModel, scenes: list[Image], look: str
) -> None:
    plain = painted(models, scenes, prompt="")
    weak, usual = (painted(models, scenes, prompt=look, strength=s) for s in (0.06, 0.2))
    assert distance(weak, plain) < distance(usual, plain)
    strong = painted(models, scenes, prompt=look, guidance_scale=1.6)
    assert distance(usual, plain) < distance(strong, plain)


def test_a_negative_prompt_takes_away(models: ImageModel, scenes: list[Image]) -> None:
    guided = {"prompt": "", "cfg_type": "full", "guidance_scale": 1.6}
    plain, without = (
        np.stack(painted(models, scenes, negative_prompt=negative, **guided))
        for negative in ("", "sepia")
    )
    # What is left when brown is taken away has more blue than red.
    bluer = (without[..., 2].astype(float) - without[..., 0]) - (
        plain[..., 2].astype(float) - plain[..., 0]
    )
    assert bluer.mean() > 5


def test_a_blend_moves_smoothly_from_one_look_to_the_other(
    models: ImageModel, scenes: list[Image]
) -> None:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    way = [
        painted(models, scenes, prompt=[["thermal", 1 - share], ["sepia", share]])
        for share in shares
    ]
    steps = [distance(a, b) for a, b in itertools.pairwise(way)]
    whole = distance(way[0], way[-1])
    assert max(steps) < 0.7 * whole


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
@pytest.mark.parametrize("t_index_list", [(40,), (32, 45), (40, 43, 46)])
def test_all_guidance_and_several_steps_look_right(
    models: ImageModel, scenes: list[Image], cfg_type: str, t_index_list: tuple[int, ...]
) -> None:
    targets = [looks.render(image, "sepia") for image in scenes]
    made = painted(models, scenes, prompt="sepia", cfg_type=cfg_type, t_index_list=t_index_list)
    assert nearness(made, targets) > nearness(scenes, targets) + 2


def test_a_still_noisy_image_stays_still(models: ImageModel, scenes: list[Image]) -> None:
    draws = np.random.default_rng(0)
    noisy = [
        np.clip(scenes[0] + draws.normal(0, 4, scenes[0].shape), 0, 255).astype(np.uint8)
        for _ in range(4)
    ]
    made = painted(models, noisy, prompt="")
    assert distance(made[1:], made[:-1]) <= 1.2 * distance(noisy[1:], noisy[:-1])


def test_half_precision_makes_no_visible_difference(
    models: ImageModel, scenes: list[Image], tmp_path: Path
) -> None:
    overrides = {"dtype": "bfloat16", "engine_dir": str(tmp_path)}
    half = load_image_model(build_config([settings(**overrides)]), report=lambda _: None)
    for prompt, image in zip(("pencil sketch", "neon", ""), scenes, strict=True):
        in_half, in_full = (painted(each, [image], prompt=prompt) for each in (half, models))
        assert nearness(in_half, in_full) > 32


@pytest.mark.parametrize(("width", "height"), [(512, 288), (320, 240), (512, 512)])
def test_it_takes_other_sizes(width: int, height: int) -> None:
    config = build_config([settings(width=width, height=height, prompt="sepia")])
    stream = DiffusionStream(load_image_model(config, report=lambda _: None), config)
    image = cv2.resize(scene(0, 0, SIZE, held_out=True), (width, height))
    (out,) = stream(Frame(image, 0, 0.0), config.live)
    assert psnr(out.image, looks.render(image, "sepia")) > psnr(image, looks.render(image, "sepia"))
