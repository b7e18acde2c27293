"""Slates: the words in them, wherever they stand."""

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from streamcam.runtime.slate import BACKGROUND, DETAIL_COLOUR, TITLE_COLOUR, slate
from streamcam.types import Image

LONG = "camera /dev/video1 " + "that says rather much of itself, " * 4


def whole(title: str, detail: str, size: tuple[int, int]) -> Image:
    """Return the same card, drawn by Pillow from top to bottom."""
    card = Pillow.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(card)
    (width, height), middle = size, size[1] / 2
    at = (width / 2, middle - height * 0.03)
    draw.text(at, title, fill=TITLE_COLOUR, font_size=height * 0.07, anchor="mm")
    at = (width / 2, middle + height * 0.06)
    shown = detail if len(detail) <= 80 else f"{detail[:77]}..."
    draw.text(at, shown, fill=DETAIL_COLOUR, font_size=height * 0.03, anchor="mm")
    return np.asarray(card)


@pytest.mark.parametrize("size", [(1280, 720), (1921, 1081), (333, 1000), (64, 48), (16, 17)])
@pytest.mark.parametrize("detail", ["opening the source", LONG, "Ägypten\nin two lines", ""])
def test_no_word_is_cut_off(size: tuple[int, int], detail: str) -> None:
    picture = slate("No picture, ÅÄgjpqy", detail, size)
    expected = whole("No picture, ÅÄgjpqy", detail, size)
    assert picture.shape == expected.shape
    np.testing.assert_array_equal(picture, expected)
    if min(size) > 100 and detail:
        assert (picture[int(size[1] * 0.55) :] != BACKGROUND).any()
