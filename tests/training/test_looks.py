"""Test that looks have their properties and colours, and are still on a still image."""

import cv2
import numpy as np
import pytest

from training.looks import COLOURS, LOOKS, PLAIN, colour, draw_colours, draw_look, render
from training.looks_filters import LUMA, array, contours, palette, quantised, ramp, smoothstep
from training.looks_grids import BLOCK, CELL, dots
from training.scenes import scene, still
from training.sheets import LABEL_HEIGHT, look_sheet, motion_sheet, scene_sheet

SIZE = 128
RECOLOURED = ("tint", "duotone", "x-ray", "halftone", "pencil", "neon", "emboss", "ink")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return scene(np.random.default_rng(12), SIZE)


@pytest.fixture(scope="module")
def stills() -> list[np.ndarray]:
    return [still(np.random.default_rng(seed), SIZE, 3, noise=0.02) for seed in range(20, 26)]


@pytest.fixture
def disc() -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), 60, np.uint8)
    cv2.circle(image, (64, 64), 36, (200, 190, 180), -1, cv2.LINE_AA)
    return image


def colours_of(look: str, seed: int = 0) -> tuple[str, ...]:
    return draw_colours(np.random.default_rng(seed), look)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean())


def thickness(lines: np.ndarray) -> float:
    """Return the width in pixels of each of the two lines along the middle row."""
    return float(lines[64].sum() / 2)


def test_there_are_at_least_eighteen_looks_besides_the_plain_one() -> None:
    assert len(LOOKS) >= 19
    assert PLAIN in LOOKS


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_keeps_size_and_dtype_and_its_source(look: str, image: np.ndarray) -> None:
    before = image.copy()
    for count in LOOKS[look].colours:
        result = render(image, look, ("blue", "gold")[:count])
        assert result.shape == image.shape
        assert result.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("look", LOOKS)
def test_rendering_a_look_twice_gives_the_same_image(look: str, image: np.ndarray) -> None:
    colours = colours_of(look)
    assert np.array_equal(render(image, look, colours), render(image, look, colours))


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_does_not_amplify_the_noise_of_a_still(look: str, stills: list[np.ndarray]) -> None:
    colours = colours_of(look)
    noise = sum(difference(frames[0], frames[1]) for frames in stills)
    result = sum(
        difference(*(render(frame, look, colours) for frame in frames[:2])) for frames in stills
    )
    assert result / noise <= 1.001


@pytest.mark.parametrize("look", [name for name, look in LOOKS.items() if look.idempotent])
def test_an_idempotent_look_changes_its_own_result_little(
    look: str, stills: list[np.ndarray]
) -> None:
    colours = colours_of(look, 1)
    first, second = 1e-6, 0.0
    for frames in stills:
        once = render(frames[0], look, colours)
        first += difference(once, frames[0])
        second += difference(render(once, look, colours), once)
    assert second < 0.45 * first


@pytest.mark.parametrize("look", [name for name in LOOKS if name != PLAIN])
def test_a_look_changes_the_image(look: str, stills: list[np.ndarray]) -> None:
    changes = [difference(render(s[0], look, colours_of(look)), s[0]) for s in stills]
    assert np.mean(changes) > 6


def test_looks_differ_from_each_other(stills: list[np.ndarray]) -> None:
    results = {
        look: [render(s[0], look, ("red",) if 0 not in LOOKS[look].colours else ()) for s in stills]
        for look in LOOKS
    }
    names = list(results)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            pairs = zip(results[first], results[second], strict=True)
            assert np.mean([difference(*pair) for pair in pairs]) > 5, (first, second)


@pytest.mark.parametrize("look", RECOLOURED)
def test_the_colour_of_a_look_is_visible(look: str, stills: list[np.ndarray]) -> None:
    count = max(LOOKS[look].colours)
    pairs = (("red", "black"), ("blue", "black"))
    red, blue = (render(stills[0][0], look, pair[:count]).astype(int) for pair in pairs)
    assert red[..., 0].mean() > blue[..., 0].mean()
    assert blue[..., 2].mean() > red[..., 2].mean()


def test_lines_are_about_two_pixels_wide_however_sharp_the_edge(disc: np.ndarray) -> None:
    sharp = contours(disc)
    blurred = contours(cv2.GaussianBlur(disc, (0, 0), 3))
    assert 1.5 <= thickness(sharp) <= 3.5
    assert 1.5 <= thickness(blurred) <= 3.5
    assert sharp.max() > 0.9


def test_a_line_lies_on_the_edge(disc: np.ndarray) -> None:
    lines = contours(disc)
    y, x = np.nonzero(lines > 0.7)
    radius = np.hypot(x - 64, y - 64)
    assert abs(float(radius.mean()) - 36) < 1
    assert radius.std() < 1


def test_no_line_is_drawn_where_there_is_only_noise() -> None:
    rng = np.random.default_rng(0)
    grain = rng.normal(120, 4, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    smooth = cv2.bilateralFilter(grain, 5, 30, 2.5)
    assert contours(smooth).mean() < 0.03


def test_neon_glows_in_its_colour_on_black(disc: np.ndarray) -> None:
    result = render(disc, "neon", ("blue", "black")).astype(int)
    assert np.median(result) < 12
    ring = result[64, 96:104].max(0)
    assert ring[2] > 200
    assert ring[2] > ring[0]


def test_a_cartoon_is_flat_with_dark_outlines(disc: np.ndarray) -> None:
    result = render(disc, "cartoon").astype(int)
    assert result[60:68, 60:68].std((0, 1)).max() < 3
    assert result[64, 96:104].min() < 60


def test_pixel_art_is_made_of_blocks(image: np.ndarray) -> None:
    result = render(image, "pixel art")
    blocks = result.reshape(SIZE // BLOCK, BLOCK, SIZE // BLOCK, BLOCK, 3)
    assert np.array_equal(blocks.min((1, 3)), blocks.max((1, 3)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_dots_cover_the_requested_share(share: float) -> None:
    covered = dots(np.full((64, 64), share, np.float32))
    assert covered.mean() == pytest.approx(share, abs=0.02)


def test_pixel_art_shows_its_blocks_on_an_even_wall() -> None:
    wall = np.full((SIZE, SIZE, 3), 115, np.uint8)
    result = render(wall, "pixel art").astype(int)
    assert np.abs(np.diff(result[:, ::BLOCK].mean(-1), axis=1)).max() > 20


def test_dots_lie_on_a_screen_at_45_degrees() -> None:
    covered = dots(np.full((32, 32), 0.3, np.float32))
    cell = covered[:CELL, :CELL]
    assert np.allclose(np.tile(cell, (4, 4)), covered)
    assert np.allclose(cell, cell.T)
    assert np.allclose(np.roll(cell, (CELL // 2, CELL // 2), (0, 1)), cell)
    assert cell[0, 0] == cell[3, 3] == 1
    assert cell[0, 3] == 0


@pytest.mark.parametrize("look", ["pencil", "ink", "neon", "emboss", "cartoon"])
def test_lines_move_with_the_image(look: str) -> None:
    wide = scene(np.random.default_rng(12), 192)
    colours = colours_of(look)
    one, other = (
        render(np.ascontiguousarray(wide[:, x : x + SIZE]), look, colours) for x in (16, 19)
    )
    seen, again = one[32:-32, 35:-32].astype(int), other[32:-32, 32:-35].astype(int)
    assert (np.abs(seen - again).max(-1) > 40).mean() < 0.01


def test_black_and_white_has_no_colour(image: np.ndarray) -> None:
    result = render(image, "black and white")
    assert np.array_equal(result.min(-1), result.max(-1))


def test_the_negative_of_a_negative_is_the_image(image: np.ndarray) -> None:
    assert np.array_equal(render(render(image, "negative"), "negative"), image)


@pytest.mark.parametrize("look", ["black and white", "sepia", "thermal", "night vision", "tint"])
def test_the_order_of_brightness_is_kept(look: str) -> None:
    grey = np.repeat(np.linspace(0, 255, 16).astype(np.uint8), 8)
    image = np.ascontiguousarray(np.broadcast_to(grey[None, :, None], (128, 128, 3)))
    result = render(image, look, ("blue",) if look == "tint" else ()).astype(np.float32) @ LUMA
    means = result[32:96].mean(0).reshape(16, 8).mean(1)
    assert (np.diff(means) > -1).all()


@pytest.mark.parametrize("size", [(64, 64), (256, 512), (264, 136)])
@pytest.mark.parametrize("look", LOOKS)
def test_looks_accept_sides_divisible_by_eight(look: str, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    assert render(image, look, colours_of(look)).shape == (*size, 3)


def test_random_looks_have_colours_that_they_accept() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_look(rng) for _ in range(400)]
    assert {look for look, _ in drawn} == set(LOOKS)
    for look, colours in drawn:
        assert len(colours) in LOOKS[look].colours
        assert len(set(colours)) == len(colours)
        assert set(colours) <= set(COLOURS)


def test_colours_are_floats_up_to_one() -> None:
    assert colour("white") == pytest.approx([1, 1, 1])
    assert colour("blue")[2] == 1


def test_smoothstep_and_quantised_reach_their_limits() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    assert smoothstep(values, 0.2, 0.8)[[0, 50, 100]] == pytest.approx([0, 0.5, 1])
    assert smoothstep(values, 0.8, 0.2)[[0, 100]] == pytest.approx([1, 0])
    levels = quantised(values, 4, 0.01)
    assert len(np.unique(levels.round(3))) <= 8
    assert levels[[0, 100]] == pytest.approx([0, 1])


def test_a_ramp_passes_through_its_colours() -> None:
    black, white = np.zeros(3, np.float32), np.ones(3, np.float32)
    middle = array([1, 0, 0])
    result = ramp(array([[0, 0.25, 1]]), [black, middle, white], [0, 0.25, 1])
    assert np.allclose(result[0], [black, middle, white], atol=0.01)


def test_a_palette_keeps_grey_grey() -> None:
    greys = np.repeat(np.linspace(0, 1, 50, dtype=np.float32)[:, None, None], 3, -1)
    result = palette(greys, 5, 4, 1.5, 0.1)
    assert np.ptp(result, axis=-1).max() < 0.01


def test_sheets_have_a_row_for_each_look() -> None:
    rng = np.random.default_rng(0)
    looks = ["plain", "neon", "tint"]
    assert look_sheet(rng, 2, 64, looks).shape == (3 * (64 + LABEL_HEIGHT), 2 * 64, 3)
    assert scene_sheet(rng, 2, 3, 32).shape == (2 * 32, 3 * 32, 3)
    assert motion_sheet(rng, 1, 2, 32).shape == (32, 2 * 32, 3)
