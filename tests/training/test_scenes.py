"""Test that scenes depend on their seeds, vary like webcam images, and move."""

import numpy as np
import pytest

from training.scenes import HELD_OUT_PLACES, PLACES, draw_scene, motion, scene, still
from training.scenes_canvas import BLACK, Canvas, array, box, capsule, octaves, oval, rounded
from training.scenes_people import HELD_OUT_HATS, HELD_OUT_MOTIFS, TRAINED_HATS, TRAINED_MOTIFS

WHITE = np.full(3, 255, np.float32)


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.stack([scene(rng, 128) for _ in range(150)])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_seed_gives_the_same_scene() -> None:
    assert np.array_equal(scene(rng(3), 128), scene(rng(3), 128))
    assert not np.array_equal(scene(rng(3), 128), scene(rng(4), 128))


@pytest.mark.parametrize("size", [64, 256, 360])
def test_scenes_come_in_any_size(size: int) -> None:
    image = scene(rng(1), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_shapes_cover_the_same_share_of_images_of_any_size() -> None:
    small, large = Canvas(64), Canvas(256)
    for canvas in (small, large):
        canvas.fill(oval(0.5, 0.5, 0.3, 0.2), WHITE)
    assert small.pixels.mean() == pytest.approx(large.pixels.mean(), rel=0.08)


def test_brightness_ranges_from_dark_stages_to_bright_windows(scenes: np.ndarray) -> None:
    means = scenes.mean((1, 2, 3))
    assert np.percentile(means, 3) < 45
    assert np.percentile(means, 97) > 160
    assert 75 < np.median(means) < 145


def test_contrast_and_edges_vary(scenes: np.ndarray) -> None:
    grey = scenes.mean(-1)
    contrast = grey.std((1, 2))
    edges = np.abs(np.diff(grey, axis=2)).mean((1, 2))
    assert np.percentile(contrast, 5) < 25
    assert np.percentile(contrast, 95) > 55
    assert np.percentile(edges, 90) > 3 * np.percentile(edges, 10)


def test_most_scenes_contain_a_person() -> None:
    drawn = [draw_scene(rng(seed), 32) for seed in range(80)]
    assert 0.6 < np.mean([bool(each.sitters) for each in drawn]) < 0.97


def test_held_out_places_hats_and_clothes_are_not_in_training() -> None:
    assert not set(PLACES) & set(HELD_OUT_PLACES)
    assert set(TRAINED_HATS) & set(HELD_OUT_HATS) == {""}
    assert set(TRAINED_MOTIFS) & set(HELD_OUT_MOTIFS) == {"plain"}
    drawn = [draw_scene(rng(seed), 32, held_out=True) for seed in range(60)]
    people = [sitter.person for each in drawn for sitter in each.sitters]
    assert {person.hat for person in people} == set(HELD_OUT_HATS)
    assert {person.motif for person in people} == set(HELD_OUT_MOTIFS)


def test_something_moves_from_frame_to_frame_but_not_everything_at_once() -> None:
    sequence = motion(rng(2), 96, 6).astype(np.float32)
    changes = np.abs(np.diff(sequence, axis=0)).mean((1, 2, 3))
    assert sequence.shape == (6, 96, 96, 3)
    assert (changes > 0.05).all()
    assert (changes < 30).all()


def test_a_still_sequence_changes_only_by_its_noise() -> None:
    quiet, loud = (still(rng(5), 96, 3, noise=noise).astype(np.float32) for noise in (0.0, 0.03))
    assert np.array_equal(quiet[0], quiet[1])
    change = np.abs(np.diff(loud, axis=0)).mean()
    assert 2 < change < 14
    assert np.abs(loud.mean(0) - quiet[0]).mean() < change


def test_edges_are_antialiased() -> None:
    canvas = Canvas(64, BLACK)
    canvas.fill(oval(0.5, 0.5, 0.3, 0.3), WHITE)
    grey = canvas.pixels[..., 0]
    assert ((grey > 20) & (grey < 235)).sum() > 30


def test_paint_stays_within_another_shape() -> None:
    canvas = Canvas(64, BLACK)
    canvas.paint(box(0, 0, 1, 1), WHITE, within=box(0.5, 0, 0.5, 1))
    assert canvas.pixels[:, :30].max() == 0
    assert canvas.pixels[:, 34:].min() == 255


def test_shapes_outside_the_image_paint_nothing() -> None:
    canvas = Canvas(64, BLACK)
    canvas.paint(box(2, 2, 1, 1), WHITE)
    canvas.glow(-3, -3, 0.2, WHITE)
    canvas.fill(capsule(array([2, 2]), array([3, 3]), 0.1, 0.1), WHITE)
    assert canvas.pixels.max() == 0


def test_light_is_added_and_paint_covers() -> None:
    canvas = Canvas(32, np.full(3, 100, np.float32))
    canvas.paint(box(-1, -1, 3, 3), np.full(3, 50, np.float32), adds=True)
    assert canvas.pixels[16, 16, 0] == 150
    canvas.paint(box(-1, -1, 3, 3), np.full(3, 50, np.float32))
    assert canvas.pixels[16, 16, 0] == 50


def test_noise_has_mean_0_and_deviation_1() -> None:
    noise = octaves(rng(), 128)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-3)


def test_a_rounded_polygon_stays_inside_the_original() -> None:
    square = box(0, 0, 1, 1)
    outline = rounded(square)
    assert outline.min() >= 0
    assert outline.max() <= 1
    assert len(outline) == 4 * 2**3
