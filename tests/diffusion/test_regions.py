"""Strength by region: the camera where a region's strength is 0, the model where it is largest."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.regions import FOLLOW
from streamcam.diffusion.stages import Condition, Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import ConfigError, ModelError, ParameterError
from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.diffusion.test_graphed_frames import Graphed, noise
from tests.diffusion.test_graphed_frames import config_of as graphed_config
from tests.diffusion.test_stream import SIZE, stand_in
from tests.frames.test_transfer import NoDownloads
from tests.support.streams import TINY, moving

CFG = ["none", "full", "self", "initialize"]


def left_half(images: Tensor) -> Tensor:
    """Return masks that are 1 in the left half, and vary with the image elsewhere."""
    f, _, height, width = images.shape
    mask = torch.zeros(f, 1, height // 8, width // 8)
    mask[..., : width // 16] = 1
    return mask


def brightness(images: Tensor) -> Tensor:
    """Return masks that differ from frame to frame."""
    pooled = torch.nn.functional.avg_pool2d(images, 8).mean(1, keepdim=True)
    return (pooled * 2 + 0.5).clamp(0, 1)


def models_of(mask: Any = left_half, **stages: Any) -> ImageModel:
    return stand_in(region_mask=mask, **stages)


def config_of(**settings: Any) -> Config:
    base = {"width": SIZE, "height": SIZE, "region_mask": "person", "cfg_type": "none"}
    return build_config([base | settings])


def latents(models: ImageModel, config: Config, frames: list[Frame]) -> list[Tensor]:
    """Return the x_0 of every frame."""
    seen: list[Tensor] = []

    def decode(x_0: Tensor) -> Tensor:
        seen.extend(x_0.clone())
        return models.decode(x_0)

    stream = DiffusionStream(models._replace(decode=decode), config)
    for frame in frames:
        stream(frame, config.live)
    stream.drain(config.live)
    return seen


def encoded(models: ImageModel, frame: Frame) -> Tensor:
    pixels = torch.from_numpy(frame.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    return models.encode(pixels, None)[0]


@pytest.mark.parametrize("cfg_type", CFG)
@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 3}, {"use_denoising_batch": False}])
def test_without_strengths_of_their_own_regions_change_no_bit(
    cfg_type: str, settings: dict[str, Any]
) -> None:
    config = config_of(cfg_type=cfg_type, **settings)
    frames = moving(6, size=SIZE)
    ours = latents(models_of(brightness), config, frames)
    plain = latents(stand_in(), config.model_copy(update={"region_mask": "off"}), frames)
    assert len(ours) == len(plain) == 6
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("cfg_type", CFG)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_strength_of_zero_is_the_camera_and_the_larger_one_is_the_model(
    cfg_type: str, steps: int
) -> None:
    models, frames = models_of(), moving(5, size=SIZE)
    settings = {"cfg_type": cfg_type, "steps": steps}
    regions = {"strength_person": 0.0, "strength_background": 0.8}
    ours = latents(models, config_of(**settings, **regions), frames)
    plain = latents(stand_in(), config_of(**settings, strength=0.8), frames)
    for frame, mixed, whole in zip(frames, ours, plain, strict=True):
        assert torch.equal(mixed[..., :1], encoded(models, frame)[..., :1])
        assert torch.equal(mixed[..., 1:], whole[..., 1:])


@pytest.mark.parametrize("cfg_type", CFG)
@pytest.mark.parametrize("f", [1, 2])
def test_every_frame_keeps_its_own_mask_through_all_steps(cfg_type: str, f: int) -> None:
    regions = {"strength_person": 0.2, "strength_background": 0.9}
    settings = {"steps": 3, "cfg_type": cfg_type} | regions
    frames = moving(6, size=SIZE)
    batched = latents(models_of(brightness), config_of(frame_buffer_size=f, **settings), frames)
    alone = config_of(use_denoising_batch=False, **settings)
    one_by_one = latents(models_of(brightness), alone, frames)
    for ours, expected in zip(batched, one_by_one, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_the_steps_follow_the_formula() -> None:
    """A slow computation, pixel by pixel, of what the docstring of the module says."""
    person, background, n = 0.3, 0.9, 3
    config = config_of(steps=n, strength_person=person, strength_background=background)
    models, [frame] = models_of(brightness), moving(1, size=SIZE)
    [ours] = latents(models, config, [frame])
    stream = DiffusionStream(models, config)
    steps, eps = stream.sampler.steps, stream.sampler.noise.stock
    condition = Condition(models.encode_text("").prompt_embeds, None, None)
    indices = config.indices(config.live)
    levels = [*(background * (50 - i) / (50 - indices[0]) for i in indices), 0.0]
    pixels = torch.from_numpy(frame.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    z, mask = models.encode(pixels, None)[0], brightness(pixels)[0, 0]
    x_0 = z.clone()
    for i in range(n):
        x_t = steps.alpha[i, 0] * x_0 + steps.beta[i, 0] * eps[i, 0]
        predicted = models.denoise(
            x_t[None] if x_t.ndim == 3 else x_t, steps.timesteps[i : i + 1], condition
        )
        estimate = (x_t - steps.beta[i, 0] * predicted) / steps.alpha[i, 0]
        x_0 = (steps.c_out[i, 0] * estimate + steps.c_skip[i, 0] * x_t).reshape(z.shape)
        for y in range(z.shape[1]):
            for x in range(z.shape[2]):
                m = float(mask[y, x])
                s = m * person + (1 - m) * background
                gate = min(1.0, max(0.0, (s - levels[i + 1]) / (levels[i] - levels[i + 1])))
                x_0[:, y, x] = z[:, y, x] + gate * (x_0[:, y, x] - z[:, y, x])
    torch.testing.assert_close(ours, x_0, atol=1e-4, rtol=1e-4)


def test_the_image_moves_evenly_with_the_strength() -> None:
    models, [frame] = models_of(), moving(1, size=SIZE)
    images = torch.stack(
        [
            latents(
                models,
                config_of(steps=3, strength_person=s / 100, strength_background=1.0),
                [frame],
            )[0]
            for s in range(101)
        ]
    )
    moves = (images[1:] - images[:-1]).abs().amax((1, 2, 3))
    whole = (images[-1] - images[0]).abs().max()
    assert moves.max() < 0.1 * whole
    assert torch.equal(images[0][..., :1], encoded(models, frame)[..., :1])


def test_masks_are_steady_and_follow_within_some_frames() -> None:
    jumps = iter([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    def mask(images: Tensor) -> Tensor:
        return torch.full((len(images), 1, SIZE // 8, SIZE // 8), next(jumps))

    config = config_of(steps=1, strength_person=1.0, strength_background=0.0)
    models, frames = models_of(mask), moving(1, size=SIZE) * 7
    seen = latents(models, config, frames)
    z = encoded(models, frames[0])
    shares = [float((x - z).abs().mean()) for x in seen]
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2] < shares[6]
    assert shares[1] == pytest.approx(FOLLOW * shares[6] / (1 - (1 - FOLLOW) ** 6), rel=1e-4)


@pytest.mark.parametrize("settings", [{"steps": 3}, {"steps": 2, "frame_buffer_size": 2}])
def test_recorded_calls_give_the_same_bytes_and_strengths_record_nothing(
    settings: dict[str, Any],
) -> None:
    config = graphed_config(cfg_type="self", region_mask="person", **settings)
    both = Graphed(models_of(brightness), config)
    live = {
        9: {"strength_person": 0.1},
        11: {"strength_background": 1.0},
        13: {"strength_person": 0.7, "seed": 4},
        15: {"strength_person": None, "strength_background": None},
        16: {"t_index_list": [10, 40, 45][: config.num_steps], "strength_person": 0.2},
    }
    both.assert_same(noise(20), live)
    recorded = both.graphs.captures
    both.assert_same(noise(12), live)
    assert both.graphs.captures == recorded


def test_a_picture_is_the_mask(tmp_path: Path) -> None:
    picture = np.zeros((40, 40), np.uint8)
    picture[:, :20] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    settings = {"region_mask": str(tmp_path / "mask.png")}
    models = load_image_model(build_config([TINY, settings]), lambda _: None)
    assert models.region_mask is not None
    mask = models.region_mask(torch.zeros(2, 3, 64, 64))
    assert mask.shape == (2, 1, *models.latent_shape[1:])
    half = mask.shape[-1] // 2
    assert mask[..., : half - 1].min() > 0.95
    assert mask[..., half + 1 :].max() < 0.05


def test_people_are_found_at_the_size_of_the_latents() -> None:
    from skimage.data import astronaut

    models = load_image_model(build_config([TINY, {"region_mask": "person", "width": 128}]), print)
    image = cv2.resize(astronaut(), (128, 64), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert models.region_mask is not None
    with torch.inference_mode():
        mask = models.region_mask(pixels)
    assert mask.shape == (1, 1, *models.latent_shape[1:])
    assert 0 <= mask.min() < 0.1
    assert 0.9 < mask.max() <= 1


@pytest.mark.parametrize(
    ("changes", "strengths", "first_index"),
    [
        ({}, None, 30),
        ({"strength_person": 0.1}, (0.1, 0.4), 30),
        ({"strength_background": 1.0}, (0.4, 1.0), 0),
        ({"strength": 0.2, "strength_person": 0.6}, (0.6, 0.2), 20),
        ({"t_index_list": [25, 40], "strength_person": 0.9}, (0.5, 0.5), 25),
        ({"t_index_list": [25, 40], "strength_background": 0.1}, (0.5, 0.1), 25),
    ],
)
def test_what_is_not_set_is_the_plain_strength_and_the_larger_one_picks_the_steps(
    changes: dict[str, Any], strengths: tuple[float, float] | None, first_index: int
) -> None:
    config = config_of(steps=2)
    live = config.changed(config.live, changes)
    assert config.region_strengths(live) == (strengths and pytest.approx(strengths))
    assert config.indices(live)[0] == first_index


def test_strengths_and_masks_are_used_without_a_look_at_their_values() -> None:
    """On torch's device without memory, reading one raises."""
    meta = torch.device("meta")
    models = models_of(
        brightness,
        encode_text=lambda _text: Text(torch.empty(1, 2, 4, device=meta), None),
        alphas_cumprod=torch.linspace(0.999, 0.005, 1000).to(meta),
        device=meta,
    )
    config = graphed_config(steps=3, cfg_type="self", region_mask="person")
    transfer = CudaTransfer(config, meta, NoDownloads(), output_format(config, on_air=True))
    stream = DiffusionStream(models, config, transfer)
    for index, image in enumerate(noise(6)):
        live = config.live.changed({"strength_person": index / 10})
        stream(Frame(image, index, 0.0), live)


def test_strengths_without_regions_change_nothing_and_say_so() -> None:
    config = build_config([{"width": SIZE, "height": SIZE}])
    stream = DiffusionStream(stand_in(), config)
    [frame] = moving(1, size=SIZE)
    live = config.live.changed({"strength_person": 0.1})
    stream(frame, live)
    assert config.indices(live) == config.indices(config.live)
    assert "have no effect: start with --set region_mask=person" in stream.notice
    stream(frame, live.changed({"strength_person": None}))
    assert stream.notice == ""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"mode": "txt2img"}, "region_mask needs mode=img2img"),
        ({"pipeline": "video"}, "pipeline=video has one strength for the whole image"),
    ],
)
def test_settings_without_a_camera_image_refuse_regions(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config_of(**settings)


def test_a_strength_out_of_range_is_refused() -> None:
    config = config_of()
    with pytest.raises(ParameterError, match=r"strength_person: .*less than or equal to 1"):
        config.live.changed({"strength_person": 1.5})


def test_a_picture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no image")
    for name, complaint in (("gone.png", "no picture"), (str(tmp_path / "mask.png"), "damaged")):
        with pytest.raises(ModelError, match=complaint) as refused:
            load_image_model(build_config([TINY, {"region_mask": name}]), lambda _: None)
        assert 'choose "person" or "off"' in str(refused.value)
