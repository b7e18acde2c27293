"""The switcher: what goes on air, and its place on the canvas."""

import numpy as np
import pytest

from streamcam.runtime.slate import slate
from streamcam.runtime.switcher import ONE_MOMENT, Inputs, Switcher
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

CAMERA = Frame(np.full((90, 160, 3), (10, 200, 30), np.uint8), 7, 1.0)
OUTPUT = Frame(np.full((64, 64, 3), (220, 40, 120), np.uint8), 5, 0.5)
LIVE = Parameters()


def inputs(
    *,
    camera: Frame | None = CAMERA,
    output: Frame | None = OUTPUT,
    source_problem: str | None = None,
) -> Inputs:
    return Inputs(camera, output, source_problem, engine_runs=output is not None)


def switcher(*, passthrough: bool = False, **settings: object) -> Switcher:
    small = {"canvas": "160x90", "width": 64, "height": 64}
    return Switcher(build_config([small | settings]), passthrough=passthrough)


def colours(image: np.ndarray) -> list[list[int]]:
    """Return the colours at the left, middle and right of the middle row."""
    row = image[image.shape[0] // 2]
    return [row[x].tolist() for x in (2, len(row) // 2, -3)]


BLACK, GREEN, PINK = [0, 0, 0], [10, 200, 30], [220, 40, 120]


@pytest.mark.parametrize(
    ("canvas_fit", "shown"),
    [("fit", [BLACK, PINK, BLACK]), ("fill", [PINK] * 3), ("stretch", [PINK] * 3)],
)
def test_an_output_of_another_aspect_ratio_is_placed_by_canvas_fit(
    canvas_fit: str, shown: list[list[int]]
) -> None:
    assert colours(switcher(canvas_fit=canvas_fit).compose(inputs(), LIVE)) == shown


def test_the_camera_frame_is_placed_where_the_output_goes() -> None:
    bypass = LIVE.changed({"bypass": True})
    assert colours(switcher().compose(inputs(), bypass)) == [BLACK, GREEN, BLACK]


def test_passthrough_shows_the_whole_camera_frame() -> None:
    shown = switcher(passthrough=True).compose(inputs(output=None), LIVE)
    assert colours(shown) == [GREEN] * 3


def test_the_same_inputs_are_composed_once() -> None:
    one = switcher()
    assert one.compose(inputs(), LIVE) is one.compose(inputs(), LIVE)
    assert one.frame is OUTPUT


@pytest.mark.parametrize(
    ("changes", "title", "detail"),
    [
        ({"panic": True}, "streamcam", "standing by"),
        ({"panic": True, "blackout": True, "freeze": True}, "streamcam", "standing by"),
    ],
)
def test_panic_overrides_everything(changes: dict[str, bool], title: str, detail: str) -> None:
    shown = switcher().compose(inputs(), LIVE.changed(changes))
    assert (shown == slate(title, detail, (160, 90))).all()


def test_viewers_read_plain_words_while_the_model_loads() -> None:
    shown = switcher().compose(inputs(output=None), LIVE)
    assert (shown == slate("streamcam", ONE_MOMENT, (160, 90))).all()


def test_freeze_also_holds_a_slate() -> None:
    one = switcher()
    lost = one.compose(inputs(source_problem="unplugged"), LIVE)
    assert one.frame is None
    assert one.compose(inputs(), LIVE.changed({"freeze": True})) is lost


@pytest.mark.parametrize(
    ("policy", "shown"), [("camera", GREEN), ("hold", PINK), ("slate", [18, 20, 26])]
)
def test_on_engine_loss_applies_once_there_was_an_output(policy: str, shown: list[int]) -> None:
    one = switcher(on_engine_loss=policy, canvas="64x64")
    first = one.compose(inputs(output=None), LIVE)
    assert first[2, 2].tolist() == [18, 20, 26]
    one.compose(inputs(), LIVE)
    assert one.compose(inputs(output=None), LIVE)[2, 2].tolist() == shown


def test_a_slate_cuts_a_detail_that_is_too_long() -> None:
    assert slate("a", "b" * 500, (320, 180)).shape == (180, 320, 3)


def test_an_output_that_the_device_fitted_to_the_canvas_goes_out_unchanged() -> None:
    placed = Frame(np.full((90, 160, 3), PINK, np.uint8), 5, 0.5)
    assert switcher().compose(inputs(output=placed), LIVE) is placed.image
    # The camera has the same size, and is nevertheless cropped to the place of the output.
    half = switcher().compose(inputs(output=placed), LIVE.changed({"mix": 0.5}))
    assert colours(half)[0] == [110, 20, 60]
    assert colours(half)[1] == [115, 120, 75]
