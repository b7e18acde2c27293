import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.pixels import fitted, i420
from streamcam.sources import frame_code
from streamcam.sources.generated import backdrop
from streamcam.types import Image

INDICES = st.integers(0, 2**32 - 1)
TIMES = st.integers(0, 2**47).map(lambda ms: ms / 1000)

BACKDROPS = {
    size: np.array(backdrop(*size)) for size in [(1280, 720), (640, 480), (720, 1280), (512, 512)]
}
SIZES = st.sampled_from(list(BACKDROPS))


def stamped(size: tuple[int, int], index: int, time: float) -> Image:
    image = BACKDROPS[size].copy()
    frame_code.stamp(image, index, time)
    return image


def through_jpeg(image: Image, quality: int) -> Image:
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)


def through_yuv(image: Image) -> Image:
    return cv2.cvtColor(i420(image), cv2.COLOR_YUV2RGB_I420)


@settings(max_examples=20, deadline=None)
@given(SIZES, INDICES, TIMES)
def test_a_stamped_code_can_be_read(size: tuple[int, int], index: int, time: float) -> None:
    assert frame_code.read(stamped(size, index, time)) == (index, time)


@settings(max_examples=20, deadline=None)
@given(SIZES, INDICES, TIMES, st.sampled_from([256, 320, 512]))
def test_the_code_survives_a_small_square_and_back(
    size: tuple[int, int], index: int, time: float, side: int
) -> None:
    image = stamped(size, index, time)
    square = fitted(image, side, side, "fill")
    assert frame_code.read(square) == (index, time)
    # Enlarged to the height of a portrait image, the sides of the code are cut off.
    for back in ("fit", "fill", "stretch") if size[0] >= size[1] else ("fit", "stretch"):
        assert frame_code.read(fitted(square, *size, back)) == (index, time)
    squeezed = fitted(image, side, side, "stretch")
    assert frame_code.read(fitted(squeezed, *size, "stretch")) == (index, time)


@settings(max_examples=20, deadline=None)
@given(SIZES, INDICES, TIMES, st.integers(40, 95))
def test_the_code_survives_compression_and_halved_colour(
    size: tuple[int, int], index: int, time: float, quality: int
) -> None:
    square = fitted(stamped(size, index, time), 256, 256, "fill")
    degraded = through_yuv(through_jpeg(fitted(through_yuv(square), *size, "fit"), quality))
    assert frame_code.read(degraded) == (index, time)


@settings(max_examples=20, deadline=None)
@given(INDICES, st.integers(0, 2**32 - 1))
def test_an_image_without_a_complete_code_gives_none(index: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert frame_code.read(rng.integers(0, 256, (480, 640, 3), np.uint8)) is None
    image = stamped((640, 480), index, 1.0)
    left, top, right, bottom = 140, 173, 500, 307
    image[top : (top + bottom) // 2, left : (left + right) // 2] ^= 255
    assert frame_code.read(image) is None


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_plain_image_gives_none(grey: int) -> None:
    assert frame_code.read(np.full((480, 640, 3), grey, np.uint8)) is None


def test_an_image_too_small_for_the_code_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        frame_code.stamp(np.zeros((64, 64, 3), np.uint8), 1, 1.0)
