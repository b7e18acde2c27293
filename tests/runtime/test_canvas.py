"""The canvas: outputs with the detail of their camera frames, camera frames just under them."""

import numpy as np
import pytest

from streamcam.pixels import fitted
from streamcam.runtime.canvas import Canvas
from streamcam.runtime.source_frames import SourceFrame
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image
from tests.support.textures import textured

CAMERA = textured(640, 360)
SOURCE = SourceFrame(5, CAMERA, None)
SMALL = {"canvas": "640x360", "width": 224, "height": 128}


def canvas_of(**settings: object) -> Canvas:
    return Canvas(build_config([SMALL | settings]))


def dim(image: Image) -> Image:
    return (image * 0.5).astype(np.uint8)


def difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_an_output_of_nearly_the_canvas_shape_covers_it_with_the_camera_s_detail() -> None:
    output = dim(fitted(CAMERA, 224, 128, "fill"))
    image = canvas_of().output(output, SOURCE, 1.0)
    assert difference(image, dim(CAMERA)) < 1


@pytest.mark.parametrize("canvas_fit", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("fit", ["fit", "fill", "stretch"])
def test_detail_lies_where_the_output_does(fit: str, canvas_fit: str) -> None:
    canvas = canvas_of(width=128, fit=fit, canvas_fit=canvas_fit)
    output = fitted(CAMERA, 128, 128, fit)
    image = canvas.output(output, SOURCE, 1.0)
    plain = canvas.output(output, None, 1.0)
    assert difference(image, canvas.camera(CAMERA)) < difference(plain, canvas.camera(CAMERA)) / 2


@pytest.mark.parametrize("canvas_fit", ["fit", "fill"])
def test_an_output_that_the_device_enlarged_gets_detail_too(canvas_fit: str) -> None:
    canvas = canvas_of(width=128, canvas_fit=canvas_fit)
    enlarged = canvas.output(dim(fitted(CAMERA, 128, 128, "fill")), None, 0.0)
    wanted = dim(canvas.camera(CAMERA))
    image = canvas.output(enlarged, SOURCE, 1.0)
    assert difference(image, wanted) < difference(enlarged, wanted) / 2


def test_an_enlarged_output_without_detail_stays_the_same_array() -> None:
    other = textured(640, 360, seed=4)
    assert canvas_of().output(other, SOURCE, 1.0) is other


@pytest.mark.parametrize(
    ("settings", "source", "detail"),
    [
        ({}, SOURCE, 0.0),
        ({}, None, 1.0),
        ({"mode": "txt2img"}, SOURCE, 1.0),
        ({"width": 640, "height": 640}, SOURCE, 1.0),
        ({"canvas": "224x128"}, SOURCE, 1.0),
    ],
)
def test_an_output_without_use_for_detail_is_enlarged_as_before(
    settings: dict[str, object], source: SourceFrame | None, detail: float
) -> None:
    config = build_config([SMALL | settings])
    output = fitted(CAMERA, config.width, config.height, "fill")
    size = config.broadcast.canvas
    shown = Canvas(config).output(output, source, detail)
    assert (shown == fitted(output, *size, "fit")).all()


def composed(changes: dict[str, object], **settings: object) -> Image:
    """Return what is on air of a black output made of `CAMERA`, with another frame there now."""
    config = build_config([SMALL | {"empty_prompt": "camera"} | settings])
    output = Frame(np.zeros((128, 224, 3), np.uint8), 5, 0.5)
    now = Frame(textured(640, 360, seed=8), 9, 1.0)
    inputs = Inputs(now, output, source=SOURCE)
    return Switcher(config).compose(inputs, Parameters().changed(changes))


@pytest.mark.parametrize("prompt", ["", "  ", [["", 1], ["pencil", 0]]])
def test_an_empty_prompt_is_the_camera_frame_of_the_output(prompt: object) -> None:
    assert composed({"prompt": prompt}) is CAMERA


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"prompt": "pencil"}, {}),
        ({"prompt": [["", 1], ["pencil", 0.1]]}, {}),
        ({"negative_prompt": "pencil"}, {"cfg_type": "full"}),
        ({}, {"empty_prompt": "model"}),
    ],
)
def test_a_prompt_that_is_not_empty_is_the_model_s_output(
    changes: dict[str, object], settings: dict[str, object]
) -> None:
    assert composed(changes, **settings).max() == 0


def test_a_negative_prompt_that_is_not_read_changes_nothing() -> None:
    assert composed({"negative_prompt": "pencil"}, cfg_type="self") is CAMERA
