"""Outputs averaged with their nearest past: as a plain computation, steadier, blind at cuts."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamcam.bench.steadiness_scene import handheld_scene, sharpness, warp_error
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.output_memory import (
    AREA,
    CELL,
    EVEN,
    FARTHEST,
    LUMA,
    REACH,
    OutputMemoryInputs,
    nearest_squares,
    remembered,
)
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config_layers import build_config, with_model
from streamcam.types import Frame
from tests.support.streams import EAGER, RecordingStream, images, moving


def smooth(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, height // 8, width // 8, generator=generator) - 0.5
    return torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic")


def grain(image: Tensor, seed: int = 0) -> Tensor:
    return 0.04 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def live(
    *, strength: float = 1.0, length: float = 4.0, threshold: float = 0.9, opened: Any = (1.0,)
) -> OutputMemoryInputs:
    values = map(torch.tensor, (strength, 1 / length, threshold, opened))
    return OutputMemoryInputs(*values)


# ---- the plain computation: square by square, and pixel by pixel


def plain_grey(image: Tensor) -> np.ndarray:
    """Return the grey image at half the size."""
    grey = np.tensordot(LUMA, image[0].numpy(), 1)
    rows, columns = (side // 2 for side in grey.shape)
    return np.asarray(grey.reshape(rows, 2, columns, 2).mean((1, 3)))


def plain_cells(row: int, column: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the pixels of the square around a cell: those of nine cells, fewer at the border."""
    cells = product(
        range(max(row - 1, 0), min(row + 2, rows)),
        range(max(column - 1, 0), min(column + 2, columns)),
    )
    within = list(product(range(CELL), range(CELL)))
    return [(CELL * r + y, CELL * c + x) for r, c in cells for y, x in within]


def plain_cosine(new: np.ndarray, past: np.ndarray) -> float:
    new, past = new - new.mean(), past - past.mean()
    both = (new * past).mean() + EVEN
    return float(both / np.sqrt(((new**2).mean() + EVEN) * ((past**2).mean() + EVEN)))


def plain_top(before: float, best: float, after: float) -> float:
    bend = min(before - 2 * best + after, -1e-6)
    return min(0.5, max(-0.5, 0.5 * (before - after) / bend))


def plain_motion(output: Tensor, history: Tensor) -> np.ndarray:
    """Return how far each square has moved, ``(2, h, w)`` in shares."""
    new, past = plain_grey(output), plain_grey(history)
    (height, width), steps = new.shape, range(-REACH, REACH + 1)
    rows, columns = height // CELL, width // CELL
    motion = np.zeros((2, rows, columns))
    for row, column in product(range(rows), range(columns)):
        pixels = plain_cells(row, column, rows, columns)
        here = np.array([new[y, x] for y, x in pixels])
        cosines = {}
        for down, right in product(steps, steps):
            there = [
                past[min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)]
                for y, x in pixels
            ]
            far = FARTHEST * ((down / REACH) ** 2 + (right / REACH) ** 2)
            cosines[down, right] = plain_cosine(here, np.array(there)) - far
        down, right = max(cosines, key=cosines.__getitem__)
        best, finer = cosines[down, right], [float(right), float(down)]
        if abs(right) < REACH:
            finer[0] += plain_top(cosines[down, right - 1], best, cosines[down, right + 1])
        if abs(down) < REACH:
            finer[1] += plain_top(cosines[down - 1, right], best, cosines[down + 1, right])
        motion[:, row, column] = -finer[0] / width, -finer[1] / height
    return motion


def plain_merge(
    output: Tensor, past: Tensor, *, strength: float, length: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return the output and the history of every pixel, given what was fetched for it."""
    result, history = output.clone(), output.clone()
    height, width = output.shape[-2:]
    reach = AREA // 2
    for y, x in product(range(height), range(width)):
        area = (
            ...,
            slice(max(y - reach, 0), y + reach + 1),
            slice(max(x - reach, 0), x + reach + 1),
        )
        likeness = 1 - float(((output[area] - past[area]) ** 2).mean())
        match = min(1.0, max(0.0, 2 * (likeness - threshold) / (1 - threshold)))
        here = (0, slice(None), y, x)
        history[here] += match * (1 - 1 / length) * (past[here] - output[here])
        result[here] += strength * (history[here] - output[here])
    return result, history


def test_the_nearest_squares_are_those_of_a_plain_search() -> None:
    scene = smooth(48, 40)
    output, history = scene + grain(scene), scene.roll((3, -2), (2, 3)) + grain(scene, 1)
    found = nearest_squares(output, history)[0].numpy()
    np.testing.assert_allclose(found, plain_motion(output, history), atol=1e-4)


def test_what_is_found_is_merged_as_in_a_plain_computation() -> None:
    # Of one level each, so that what is fetched is known wherever it is found.
    history = torch.full((1, 3, 16, 24), 0.1)
    output = history + torch.linspace(0, 0.5, 24) + grain(history)
    values: dict[str, float] = {"strength": 0.7, "length": 4.0, "threshold": 0.9}
    result, kept = remembered(output, history, live(**values))
    plain, plain_kept = plain_merge(output, history, **values)
    torch.testing.assert_close(result, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(kept, plain_kept, atol=1e-5, rtol=0)


@pytest.mark.parametrize("moves", [(0, 0), (2, 3), (-3, 4)], ids=str)
def test_noise_of_a_scene_that_moves_is_averaged_and_its_edges_stay(moves: tuple[int, int]) -> None:
    scene, inside = smooth(96, 128), (..., slice(24, -24), slice(24, -24))
    history, errors = scene, []
    for i in range(6):
        now = scene.roll(tuple(i * by for by in moves), (2, 3))
        result, history = remembered(now + grain(now, i), history, live(length=8.0))
        errors.append(float((result - now)[inside].abs().mean()))
    before = float(grain(scene)[inside].abs().mean())
    assert max(errors) < 0.6 * before


def test_where_something_else_is_now_nothing_of_the_past_is_left() -> None:
    history = smooth(48, 64)
    output = history.clone()
    output[..., 16:40, 16:40] = 1.5
    result, _ = remembered(output, history, live())
    assert torch.equal(result[..., 20:36, 20:36], output[..., 20:36, 20:36])


def test_the_frames_of_one_call_remember_one_after_another() -> None:
    frames = torch.cat([smooth(48, 64).roll(i, 3) + grain(smooth(48, 64), i) for i in range(3)])
    opened = [1.0, 0.0, 1.0]
    together, last = remembered(frames, smooth(48, 64), live(opened=opened))
    kept = smooth(48, 64)
    for i in range(3):
        alone, kept = remembered(frames[i : i + 1], kept, live(opened=opened[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone)
    torch.testing.assert_close(last, kept)


def test_half_precision_comes_out_as_it_went_in() -> None:
    output = smooth(48, 64).half()
    result, history = remembered(output, smooth(48, 64), live())
    assert (result.dtype, history.dtype) == (torch.float16, torch.float32)


@pytest.fixture(scope="module")
def models() -> ImageModel:
    """A U-Net without memory of its own, so that all that differs is that of the outputs."""
    return RecordingStream().models


def test_nano_flickers_a_third_less_under_a_noisy_camera_that_moves_and_stays_sharp() -> None:
    nano = {"model": "nano", "width": 96, "height": 96, "prompt": "watercolour"} | EAGER
    config = with_model(build_config([nano, {"temporal_memory": "features"}]), "nano")
    model = load_image_model(config, lambda _: None)
    scene = handheld_scene(96, 96, 8)

    def measured(strength: float) -> tuple[float, float]:
        parameters = config.live.changed({"temporal_strength": strength})
        stream = DiffusionStream(model, config)
        frames = [Frame(image, i, i / 24) for i, image in enumerate(scene)]
        outputs = [out.image for frame in frames for out in stream(frame, parameters)]
        return warp_error(scene[3:], outputs[3:]), sharpness(outputs[3:])

    (off, sharp), (steady, still_sharp) = measured(0), measured(0.8)
    assert steady < 0.67 * off
    assert still_sharp == pytest.approx(sharp, rel=0.05)


def grey(levels: list[int]) -> list[Frame]:
    return [Frame(np.full((64, 64, 3), v, np.uint8), i, i / 30) for i, v in enumerate(levels)]


def run(
    models: ImageModel,
    frames: list[Frame],
    changes: dict[int, dict[str, Any]] | None = None,
    **settings: Any,
) -> Any:
    base = {"temporal_memory": "features", "temporal_threshold": 0.2}
    outputs = RecordingStream(models, **base | settings)(frames, changes)
    return images(outputs).astype(int)


MODES: list[dict[str, Any]] = [
    {"t_index_list": "10,30"},
    {"t_index_list": "10,30", "cfg_type": "full", "guidance_scale": 1.5, "frame_buffer_size": 2},
    {"t_index_list": "10,30", "use_denoising_batch": False},
]


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_it_begins_with_the_second_output_and_strength_0_is_off_to_the_bit(
    models: ImageModel, settings: dict[str, Any]
) -> None:
    frames = grey([100, 104, 108, 112, 116, 120])
    off = run(models, frames, temporal_memory="off", **settings)
    on = run(models, frames, **settings)
    assert (on[0] == off[0]).all()
    assert (on[1:] != off[1:]).any((1, 2, 3)).all()
    assert (run(models, frames, temporal_strength=0, **settings) == off).all()
    assert (run(models, frames, {5: {"temporal_strength": 0}}, **settings)[-1] == off[-1]).all()


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_a_cut_is_where_the_output_forgets(models: ImageModel, settings: dict[str, Any]) -> None:
    frames = moving(4)  # Noise: each another scene.
    off = run(models, frames, temporal_memory="off", **settings)
    assert (run(models, frames, temporal_threshold=0, **settings) == off).all()


def test_a_reset_forgets_the_outputs(models: ImageModel) -> None:
    scene = grey([100, 104, 108])
    again = [Frame(f.image, f.index + 3, 1.0) for f in scene]
    outputs = run(models, scene + again, {3: {"reset": 1}}, t_index_list="20")
    assert (outputs[:3] == outputs[3:]).all()
