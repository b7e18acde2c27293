"""The memory that a stream needs is known before it is loaded, and the remedy if there is less."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from streamcam.diffusion import memory_need as memory_need_module
from streamcam.diffusion.memory_need import (
    CUDA_BYTES,
    FULL_VAE_CHANNELS,
    TINY_VAE_CHANNELS,
    UNET_FACTOR,
    build_refusal,
    check_room,
    memory_line,
    memory_need,
)
from streamcam.engines.device_memory import DeviceMemory
from streamcam.engines.placement import Placement
from streamcam.engines.selection import EngineChoice
from streamcam.errors import EngineError
from streamcam.models.random_models import UNETS
from streamcam.models.weight_bytes import ModelSize, model_size
from streamcam.settings.config import Config
from tests.support.counted_memory import parameter_bytes, peak_bytes

GB = 10**9
HALF = torch.float16
ON_CUDA = Placement(torch.device("cuda"), HALF, EngineChoice((), "eager"))


@pytest.fixture(scope="module")
def sd_turbo() -> dict[str, Any]:
    """Return the parts of SD-Turbo in their real shapes, on a device without memory."""
    import diffusers
    import transformers

    vae = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    }
    clip = transformers.CLIPTextConfig(
        hidden_size=1024, num_hidden_layers=23, num_attention_heads=16, intermediate_size=4096
    )
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "unet": diffusers.UNet2DConditionModel(sample_size=64, **UNETS["sd-2.1"]),
            "tiny": diffusers.AutoencoderTiny(),
            "vae": diffusers.AutoencoderKL(**vae),
            "text": transformers.CLIPTextModel(clip),
        }
    return {name: part.to(HALF).eval() for name, part in parts.items()}


def size_of(parts: dict[str, Any], vae: str = "tiny") -> ModelSize:
    weights = sum(parameter_bytes(parts[name]) for name in ("unet", vae, "text"))
    return ModelSize(weights // 2, 320, vae == "tiny")


@pytest.mark.parametrize(("size", "rows"), [(512, 1), (256, 4)])
def test_activations_of_a_unet_are_what_a_call_holds(
    sd_turbo: dict[str, Any], size: int, rows: int
) -> None:
    latents = torch.empty(rows, 4, size // 8, size // 8, dtype=HALF, device="meta")
    embeds = torch.empty(rows, 77, 1024, dtype=HALF, device="meta")
    timesteps = torch.empty(rows, device="meta")
    counted = peak_bytes(sd_turbo["unet"], latents, timesteps, encoder_hidden_states=embeds)
    estimated = 2 * UNET_FACTOR * 320 * rows * size**2 // 64
    assert counted <= estimated < 1.1 * counted


@pytest.mark.parametrize(
    ("vae", "channels"), [("tiny", TINY_VAE_CHANNELS), ("vae", FULL_VAE_CHANNELS)]
)
def test_activations_of_an_autoencoder_are_what_a_call_holds(
    sd_turbo: dict[str, Any], vae: str, channels: int
) -> None:
    images = torch.empty(1, 3, 512, 512, dtype=HALF, device="meta")
    latents = torch.empty(1, 4, 64, 64, dtype=HALF, device="meta")
    halves = sd_turbo[vae].encoder, sd_turbo[vae].decoder
    counted = max(map(peak_bytes, halves, (images, latents)))
    assert counted <= 2 * channels * 512**2 < 1.25 * counted


@pytest.mark.parametrize("card", [6, 8, 12])
@pytest.mark.parametrize("vae", ["tiny", "vae"])
def test_sd_turbo_fits_on_small_cards(sd_turbo: dict[str, Any], card: int, vae: str) -> None:
    size = size_of(sd_turbo, vae)
    need = memory_need(Config(model="sd-turbo", steps=1, cfg_type="none"), size, ON_CUDA)
    # A desktop takes some of a card, and gigabytes on a box are smaller than those of a program.
    assert need.total < 0.8 * card * GB
    assert need.weights == 2 * size.elements
    assert need.libraries == CUDA_BYTES


def test_engines_are_built_beside_a_stream_only_where_there_is_room(
    sd_turbo: dict[str, Any],
) -> None:
    need = memory_need(Config(model="sd-turbo"), size_of(sd_turbo), ON_CUDA)
    left_on = {card: DeviceMemory(int(0.9 * card * GB) - need.total, card * GB) for card in (6, 24)}
    assert "streamcam engines build" in build_refusal(need, ON_CUDA, left_on[6])
    assert not build_refusal(need, ON_CUDA, left_on[24])


def test_a_larger_size_is_refused_where_it_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(model="nano", device="cpu", width=896, height=512)
    for free in (GB // 10, 8 * GB):
        memory = DeviceMemory(free, 8 * GB)
        monkeypatch.setattr(memory_need_module, "device_memory", lambda _, memory=memory: memory)
        if free < GB:
            with pytest.raises(EngineError, match=r"needs about \d.\d GB on cpu, where 0.1 GB are"):
                check_room(config)
        else:
            check_room(config)


ELEMENTS = 1_300_000_000


@pytest.mark.parametrize(
    ("settings", "tiny", "remedy"),
    [
        ({}, True, "--width 384 --height 384"),
        ({"width": 256, "height": 256}, True, "a smaller model"),
        ({"frame_buffer_size": 8}, True, "--frame-buffer-size 1"),
        ({"vae": "full", "frame_buffer_size": 4}, False, "use_tiny_vae=true"),
    ],
)
def test_a_stream_that_may_not_fit_comes_with_a_remedy(
    settings: dict[str, Any], tiny: bool, remedy: str
) -> None:
    config, size = Config(model="any", **settings), ModelSize(ELEMENTS, 320, tiny)
    short = memory_line(config, size, ON_CUDA, DeviceMemory(GB, 4 * GB))
    assert remedy in short
    assert "1.0 GB of 4.0 GB free: it may not fit" in short
    assert "may not fit" not in memory_line(config, size, ON_CUDA, DeviceMemory(20 * GB, 24 * GB))


def test_float32_on_a_gpu_may_be_halved() -> None:
    placement = ON_CUDA._replace(dtype=torch.float32)
    line = memory_line(
        Config(model="any"), ModelSize(ELEMENTS, 320, True), placement, DeviceMemory(GB, 4 * GB)
    )
    assert "choose --dtype float16 or" in line


def test_the_size_of_a_model_is_read_from_the_headers_of_its_files(
    model_folder: Callable[[str], Path],
) -> None:
    from diffusers import DiffusionPipeline

    folder = model_folder("sd-turbo")
    pipe = DiffusionPipeline.from_pretrained(folder)
    parts = [pipe.unet, pipe.text_encoder, pipe.vae]
    size = model_size(Config(model=str(folder), vae="full"))
    assert size is not None
    stored = sum(len(p.flatten()) for part in parts for p in part.parameters())
    assert size.elements == stored
    assert size.channels == pipe.unet.config.block_out_channels[0]
    assert not size.has_tiny_vae


def test_nano_has_a_size_and_a_missing_or_damaged_model_none(tmp_path: Path) -> None:
    nano = model_size(Config(model="nano"))
    assert nano is not None
    assert 1e6 < nano.elements < 2e7
    assert nano.has_tiny_vae
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(b"\xff" * 100)
    for model in (str(damaged), "some/model-that-is-not-cached", "random:tiny-sd-turbo"):
        assert model_size(Config(model=model)) is None
