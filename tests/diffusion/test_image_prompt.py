"""Image prompts: equal to diffusers' own pipelines; switched, and taken from the camera, on air."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from streamcam.diffusion.image_model import ImageModel, from_pipeline
from streamcam.diffusion.sampler import Sampler
from streamcam.diffusion.stages import Condition
from streamcam.diffusion.steering import Steering
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.support.ip_adapters import FILES, save_ip_adapter
from tests.support.streams import TINY

CPU = torch.device("cpu")
SCALES = {"a.png": 0.7, "b.png": -0.4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    files = [folder / name for name in SCALES]
    for file in files:
        noise = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        Pillow.fromarray(noise).resize((90, 60)).save(file)
    return [*map(str, files)]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return the file of a tiny adapter of a kind for a family, made on first use."""
    root = tmp_path_factory.mktemp("adapters")

    def made(family: str, kind: str) -> Path:
        folder = root / family
        file = folder / "models" / f"{FILES[kind]}_tiny.safetensors"
        if not file.exists():
            save_ip_adapter(folder, random_pipeline(f"tiny-{family}").unet, kind)
        return file

    return made


def load(file: Path, family: str = "sd-1.5", **settings: Any) -> tuple[ImageModel, Config]:
    model = {"model": f"random:tiny-{family}", "ip_adapter": str(file)}
    config = build_config([TINY, model, settings])
    return from_pipeline(random_pipeline(f"tiny-{family}"), config, CPU), config


def reference(file: Path, family: str, pictures: list[str]) -> dict[str, Any]:
    """Run diffusers' image-to-image pipeline with one adapter per picture.

    Returns the inputs of its first call of the U-Net, and the result.
    """
    base = random_pipeline(f"tiny-{family}")
    kind = (
        "StableDiffusionXLImg2ImgPipeline" if family == "sdxl" else "StableDiffusionImg2ImgPipeline"
    )
    pipe = getattr(diffusers, kind)(**base.components)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(
        str(file.parents[1]), subfolder="models", weight_name=[file.name] * len(pictures)
    )
    pipe.set_ip_adapter_scale([*SCALES.values()])
    calls: list[dict[str, Any]] = []

    def note(_unet: Any, args: Any, kwargs: Any, result: Any) -> None:
        calls.append(kwargs | {"x_t": args[0], "timestep": args[1], "result": result[0]})

    pipe.unet.register_forward_hook(note, with_kwargs=True)
    images = [Pillow.open(file).convert("RGB") for file in pictures]
    pipe(
        "a cat",
        image=images[0].resize((64, 64)),
        ip_adapter_image=images,
        num_inference_steps=2,
        strength=1.0,
        guidance_scale=5.0,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
    )
    return calls[0]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("family", ["sd-1.5", "sdxl"])
@torch.inference_mode()
def test_a_call_gives_what_diffusers_own_pipeline_gives(
    adapter: Callable[[str, str], Path], pictures: list[str], family: str, kind: str
) -> None:
    file = adapter(family, kind)
    expected = reference(file, family, pictures)
    scales = dict(zip(pictures, SCALES.values(), strict=True))
    for cached in (True, False):
        model, config = load(
            file, family, image_prompt=scales, cfg_type="full", cache_prompt_kv=cached, steps=1
        )
        sampler = Sampler(model, config, torch.Tensor.copy_)
        added = expected["added_cond_kwargs"]
        condition = Condition(
            model.add_prompt_kv(expected["encoder_hidden_states"]),
            added.get("text_embeds"),
            added.get("time_ids"),
        )
        assert sampler.image_prompts is not None
        steering = Steering(image_prompt=sampler.image_prompts((1, 1)))
        call = (expected["x_t"], expected["timestep"].long().expand(2), condition)
        ours, without = model.denoise(*call, steering), model.denoise(*call)
        torch.testing.assert_close(ours, expected["result"], atol=1e-4, rtol=1e-4)
        assert (without - expected["result"]).abs().max() > 1e-2
