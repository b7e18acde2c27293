"""Guided upsampling: detail is carried where a look keeps it, and nowhere else."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from streamcam.pixels import fitted, mixed
from streamcam.runtime.guided_upsampling import GuidedUpsampler
from streamcam.types import Image
from tests.support.textures import textured

SMALL, LARGE = (224, 128), (640, 360)
CAMERA = textured(*LARGE)
SEEN = fitted(CAMERA, *SMALL, "stretch")
Look = Callable[[Image], Image]

KEEPING: dict[str, Look] = {
    "nothing": lambda image: image,
    "dim": lambda image: (image * 0.5 + 20).astype(np.uint8),
    "negative": lambda image: 255 - image,
    "warm": lambda image: (image * [0.9, 0.7, 0.4] + [25, 10, 0]).astype(np.uint8),
}
REPLACING: dict[str, Look] = {
    "blocks": lambda image: image[::8, ::8].repeat(8, 0).repeat(8, 1),
    "another scene": lambda image: textured(image.shape[1], image.shape[0], seed=9),
    "noise": lambda image: np.random.default_rng(1).integers(0, 256, image.shape, dtype=np.uint8),
    "one colour": lambda image: np.full_like(image, 90),
}


def plain(small: Image) -> Image:
    return fitted(small, *LARGE, "stretch")


def difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.fixture(scope="module")
def upsample() -> GuidedUpsampler:
    return GuidedUpsampler(SMALL, LARGE)


@pytest.mark.parametrize("look", KEEPING)
def test_a_look_that_keeps_the_scene_gets_its_detail(upsample: GuidedUpsampler, look: str) -> None:
    small, wanted = KEEPING[look](SEEN), KEEPING[look](CAMERA)
    detailed = upsample(small, CAMERA, 1.0, SEEN)
    assert detailed is not None
    assert difference(detailed, wanted) < 0.7
    assert difference(plain(small), wanted) > 3


@pytest.mark.parametrize("paper", [(255, 255, 255), (220, 170, 120)])
def test_a_look_in_one_colour_gets_detail_without_the_camera_s_colours(
    upsample: GuidedUpsampler, paper: tuple[int, int, int]
) -> None:
    def printed(image: Image) -> Image:
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[..., None]
        return np.asarray(grey * (np.array(paper) / 255), np.uint8)

    detailed = upsample(printed(SEEN), CAMERA, 1.0)
    assert detailed is not None
    assert difference(detailed, printed(CAMERA)) < 0.7


def test_softness_of_the_model_is_made_up_for(upsample: GuidedUpsampler) -> None:
    soft = np.asarray(cv2.GaussianBlur(SEEN, (0, 0), 1.2), np.uint8)
    detailed = upsample(soft, CAMERA, 1.0)
    assert detailed is not None
    assert difference(detailed, CAMERA) < difference(plain(soft), CAMERA) / 2


@pytest.mark.parametrize("look", REPLACING)
def test_a_look_with_structure_of_its_own_gets_none(upsample: GuidedUpsampler, look: str) -> None:
    assert upsample(REPLACING[look](SEEN), CAMERA, 1.0, SEEN) is None


def test_blocks_get_none_even_where_they_keep_the_edges_of_a_close_face() -> None:
    """Such blocks have the detail of the camera as far as one can see at their size."""
    camera = fitted(textured(80, 45), *LARGE, "stretch")
    seen = fitted(camera, *SMALL, "stretch")
    small = fitted(seen, SMALL[0] // 4, SMALL[1] // 4, "stretch").repeat(4, 0).repeat(4, 1)
    assert GuidedUpsampler(SMALL, LARGE)(small, camera, 1.0, seen) is None


def test_each_part_of_an_image_is_judged_by_itself(upsample: GuidedUpsampler) -> None:
    parts = SEEN.copy()
    blocks = SEEN[::5, ::5].repeat(5, 0).repeat(5, 1)
    parts[:, 112:] = blocks[: SMALL[1], 112 : SMALL[0]]
    detailed = upsample(parts, CAMERA, 1.0, SEEN)
    assert detailed is not None
    assert difference(detailed[:, :240], CAMERA[:, :240]) < 0.7
    assert difference(detailed[:, 400:], plain(parts)[:, 400:]) < 0.7


def test_strength_is_a_share_of_the_detail(upsample: GuidedUpsampler) -> None:
    full, half = upsample(SEEN, CAMERA, 1.0), upsample(SEEN, CAMERA, 0.5)
    assert full is not None
    assert half is not None
    assert difference(half, mixed(full, plain(SEEN), 0.5)) < 1
    assert upsample(SEEN, CAMERA, 0.0) is None


@pytest.mark.parametrize("gain", [3.0, -3.0])
def test_levels_beyond_black_and_white_are_cut_not_wrapped(
    upsample: GuidedUpsampler, gain: float
) -> None:
    def contrast(image: Image) -> Image:
        return np.clip((image - 128.0) * gain + 128, 0, 255).astype(np.uint8)

    detailed = upsample(contrast(SEEN), CAMERA, 1.0)
    assert detailed is not None
    far = np.abs(detailed.astype(int) - contrast(CAMERA)) > 128
    assert far.mean() < 1e-3


def test_noise_of_the_camera_is_not_raised(upsample: GuidedUpsampler) -> None:
    rng = np.random.default_rng(3)
    wall = np.full_like(CAMERA, 120)
    wall[:, :320] = CAMERA[:, :320]
    outputs = []
    for _ in range(8):
        noisy = np.clip(wall + rng.normal(0, 4, wall.shape), 0, 255).astype(np.uint8)
        seen = fitted(noisy, *SMALL, "stretch")
        outputs.append(upsample(KEEPING["dim"](seen), noisy, 1.0, seen))
    moving = np.std(np.stack([o for o in outputs if o is not None]).astype(float), axis=0)
    assert len(outputs) == 8
    # Half the contrast has half the noise, also in changes of the weight; a wall has less.
    assert moving[:, :300].mean() < 2.2
    assert moving[:, 360:].mean() < 1.2


@pytest.mark.parametrize(
    ("small", "large"), [((8, 8), (16, 10)), ((64, 120), (90, 160)), ((832, 480), (1000, 577))]
)
def test_any_size_can_be_enlarged(small: tuple[int, int], large: tuple[int, int]) -> None:
    camera = textured(*large)
    upsample = GuidedUpsampler(small, large)
    detailed = upsample(fitted(camera, *small, "stretch"), camera, 1.0)
    assert detailed is None or detailed.shape == camera.shape
