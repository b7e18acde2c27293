"""Image prompts on air: scales, the camera's image in the background, and off exactly."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.image_prompt import EncodedImage, ImagePromptModel
from streamcam.diffusion.image_prompts import ENCODING, NOTHING_GRABBED, ImagePrompts
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from tests.support.ip_adapters import save_ip_adapter
from tests.support.streams import TINY, RecordingStream, images, moving

CPU = torch.device("cpu")
CAMERA_OFF = {"image_prompt_scale": {"camera": 0}}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("pictures") / "style.png"
    Pillow.fromarray(moving(1, seed=9)[0].image).save(file)
    return str(file)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, picture: str) -> dict[str, Any]:
    unet = random_pipeline("tiny-sd-turbo").unet
    file = save_ip_adapter(tmp_path_factory.mktemp("adapter"), unet, "plain")
    return {"ip_adapter": str(file), "image_prompt": {picture: 1.0}}


@pytest.fixture(scope="module")
def model(settings: dict[str, Any]) -> ImageModel:
    config = build_config([TINY, settings])
    return load_image_model(config, lambda _: None)


@pytest.fixture(scope="module")
def camera_alone(settings: dict[str, Any]) -> dict[str, Any]:
    return {"ip_adapter": settings["ip_adapter"]}


@pytest.mark.parametrize("mode", ["none", "full", "self", "initialize"])
@pytest.mark.parametrize("batch", [True, False])
def test_a_scale_of_0_gives_the_images_that_no_adapter_gives(
    model: ImageModel, settings: dict[str, Any], mode: str, batch: bool
) -> None:
    shared: dict[str, Any] = {"cfg_type": mode, "use_denoising_batch": batch}
    plain = RecordingStream(**shared)(moving(4))
    off = {"image_prompt_scale": {"style": 0, "camera": 0}}
    run = RecordingStream(model, **settings, **shared)
    assert np.array_equal(images(run(moving(4), {0: off})), images(plain))
    shown = run(moving(4), {0: {"image_prompt_scale": {"style": 1}}})
    assert abs(images(shown).astype(int) - images(plain)).max() > 8


def test_frames_at_a_time_see_the_image_that_one_at_a_time_sees(
    model: ImageModel, settings: dict[str, Any]
) -> None:
    one, two = (
        RecordingStream(model, frame_buffer_size=f, cfg_type="initialize", **settings)(moving(4))
        for f in (1, 2)
    )
    assert abs(images(one).astype(int) - images(two)).max() <= 1


def test_the_camera_is_grabbed_with_the_frame_that_the_snapshot_came_with(
    model: ImageModel, settings: dict[str, Any], picture: str
) -> None:
    """The picture that was given at start, shown to the camera, gives the same images."""
    frames = moving(3)
    shown = [*moving(1, seed=9), *frames[1:]]
    given = RecordingStream(model, **settings)(shown, {0: CAMERA_OFF})
    grabbed = {"image_prompt_grab": 1, "image_prompt_scale": {"style": 0, "camera": 1}}
    taken = RecordingStream(model, **settings)(shown, {0: grabbed})
    assert np.array_equal(images(taken), images(given))
    other = RecordingStream(model, **settings)(frames, {0: grabbed})
    assert abs(images(other)[1:].astype(int) - images(given)[1:]).max() > 4


class SlowModel(ImagePromptModel):
    """Encodes an image to its first value, once it is let."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.nothing = torch.zeros(1, 2, 3)
        self.images = {}
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def encode(self, image: Any) -> EncodedImage:
        self.begun.set()
        self.goes_on.wait(10)
        if image[0, 0, 0] == 13:
            raise RuntimeError("out of memory")
        return EncodedImage(torch.full((1, 2, 3), float(image[0, 0, 0])), self.nothing)


def parameters(grabs: int, scale: float = 0.5) -> Parameters:
    scales = (("camera", scale),)
    return Parameters(image_prompt_grab=grabs, image_prompt_scale=scales)


def image(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, np.uint8)


def wait_for(prompts: ImagePrompts, value: Parameters) -> bool:
    return prompts.grab(image(0), value, wait=True)


@pytest.mark.parametrize("fixed", [False, True])
def test_frames_go_on_with_the_image_before_until_the_new_one_is_encoded(fixed: bool) -> None:
    model = SlowModel(("camera",))
    prompts = ImagePrompts(model, parameters(0), FixedMemory(fixed=fixed), CPU)
    before = prompts((1, 2))
    assert before.keys_values.shape == (3, 2, 3)
    assert (prompts.notice, before.scales.tolist()) == (NOTHING_GRABBED, [0])
    assert not prompts.grab(image(7), parameters(1), wait=False)
    model.begun.wait(10)
    for value in (8, 9):  # Of those that come meanwhile the newest is encoded.
        assert not prompts.grab(image(value), parameters(value), wait=False)
    assert prompts.notice == ENCODING
    assert prompts((1, 2)).scales.tolist() == [0]
    model.goes_on.set()
    assert wait_for(prompts, parameters(9))
    after = prompts((1, 2))
    assert after.keys_values[:, 0, 0].tolist() == [0, 9, 9]
    assert (prompts.notice, after.scales.tolist()) == ("", [0.5])
    assert (after.keys_values is before.keys_values) == fixed


def test_an_image_that_cannot_be_encoded_leaves_the_one_before_and_a_notice() -> None:
    model = SlowModel(("camera",))
    model.goes_on.set()
    prompts = ImagePrompts(model, parameters(0), FixedMemory(fixed=False), CPU)
    prompts.grab(image(5), parameters(1), wait=True)
    assert not prompts.grab(image(13), parameters(2), wait=True)
    assert "cannot be encoded: out of memory" in prompts.notice
    assert prompts((0, 1)).keys_values[0, 0, 0] == 5
    assert prompts.grab(image(6), parameters(3), wait=True)
    assert prompts.notice == ""


def test_warming_up_grabs_nothing_and_a_start_that_is_asked_to_takes_the_first_frame(
    camera_alone: dict[str, Any],
) -> None:
    """As after a crash of the engine process, where the image that was taken is lost."""
    config = build_config([TINY, camera_alone, {"warmup": 1, "image_prompt_grab": 4}])
    stream = DiffusionStream(load_image_model(config, lambda _: None), config)
    stream.warm_up()
    assert stream.notice == NOTHING_GRABBED
    stream(moving(1)[0], config.live)
    assert stream.notice == ""


def test_no_file_takes_the_name_of_the_camera() -> None:
    config = Config(ip_adapter="a.safetensors", image_prompt=["camera.png:0.3", "camera:0.2"])
    numbers = {"image_prompt_scale": (("camera", 0.2), ("camera_2", 0.3))}
    assert config.named_numbers() == numbers
    assert Config.model_validate_json(config.model_dump_json()) == config
