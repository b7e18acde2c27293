"""The desk: what goes on air, and where it stands on the canvas."""

import numpy as np
import pytest

from streamcam.runtime.slate import slate
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

CAMERA = Frame(np.full((90, 160, 3), (10, 200, 30), np.uint8), 7, 1.0)
PICTURE = Frame(np.full((64, 64, 3), (220, 40, 120), np.uint8), 5, 0.5)
LIVE = Parameters()


def feeds(
    *, camera: Frame | None = CAMERA, picture: Frame | None = PICTURE, source: str | None = None
) -> Inputs:
    return Inputs(camera, picture, "loading a model", source)


def switcher(*, passthrough: bool = False, **settings: object) -> Switcher:
    small = {"canvas": "160x90", "width": 64, "height": 64}
    return Switcher(build_config([small | settings]), passthrough=passthrough)


def colours(image: np.ndarray) -> list[list[int]]:
    """Return the colours left, in the middle and right, half-way down."""
    row = image[image.shape[0] // 2]
    return [row[x].tolist() for x in (2, len(row) // 2, -3)]


BLACK, GREEN, PINK = [0, 0, 0], [10, 200, 30], [220, 40, 120]


@pytest.mark.parametrize(
    ("canvas_fit", "shown"),
    [("fit", [BLACK, PINK, BLACK]), ("fill", [PINK] * 3), ("stretch", [PINK] * 3)],
)
def test_a_picture_of_another_shape_meets_the_canvas_as_it_was_told(
    canvas_fit: str, shown: list[list[int]]
) -> None:
    assert colours(switcher(canvas_fit=canvas_fit).compose(feeds(), LIVE)) == shown


def test_the_camera_stands_where_its_picture_does() -> None:
    bypass = LIVE.changed({"bypass": True})
    assert colours(switcher().compose(feeds(), bypass)) == [BLACK, GREEN, BLACK]


def test_without_a_model_the_whole_camera_is_shown() -> None:
    shown = switcher(passthrough=True).compose(feeds(picture=None), LIVE)
    assert colours(shown) == [GREEN] * 3


def test_the_same_picture_is_composed_once() -> None:
    one = switcher()
    assert one.compose(feeds(), LIVE) is one.compose(feeds(), LIVE)
    assert one.frame is PICTURE


@pytest.mark.parametrize(
    ("changes", "title", "detail"),
    [
        ({"panic": True}, "streamcam", "standing by"),
        ({"panic": True, "blackout": True, "freeze": True}, "streamcam", "standing by"),
    ],
)
def test_panic_goes_before_all_else(changes: dict[str, bool], title: str, detail: str) -> None:
    shown = switcher().compose(feeds(), LIVE.changed(changes))
    assert (shown == slate(title, detail, (160, 90))).all()


def test_freeze_holds_the_slate_too() -> None:
    one = switcher()
    lost = one.compose(feeds(source="unplugged"), LIVE)
    assert one.frame is None
    assert one.compose(feeds(), LIVE.changed({"freeze": True})) is lost


@pytest.mark.parametrize(
    ("policy", "shown"), [("camera", GREEN), ("hold", PINK), ("slate", [18, 20, 26])]
)
def test_without_an_engine_the_policy_is_shown_once_there_was_a_picture(
    policy: str, shown: list[int]
) -> None:
    one = switcher(on_engine_loss=policy, canvas="64x64")
    first = one.compose(feeds(picture=None), LIVE)
    assert first[2, 2].tolist() == [18, 20, 26]
    one.compose(feeds(), LIVE)
    assert one.compose(feeds(picture=None), LIVE)[2, 2].tolist() == shown


def test_a_slate_cuts_what_is_too_long_to_read() -> None:
    assert slate("a", "b" * 500, (320, 180)).shape == (180, 320, 3)


def test_a_picture_that_a_device_has_placed_goes_out_as_it_is() -> None:
    placed = Frame(np.full((90, 160, 3), PINK, np.uint8), 5, 0.5)
    assert switcher().compose(feeds(picture=placed), LIVE) is placed.image
    # The camera has the same size, and is cropped to where the picture stands all the same.
    half = switcher().compose(feeds(picture=placed), LIVE.changed({"mix": 0.5}))
    assert colours(half)[0] == [110, 20, 60]
    assert colours(half)[1] == [115, 120, 75]
