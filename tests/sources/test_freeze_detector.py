from collections.abc import Iterator
from itertools import count

import numpy as np

from streamcam.sources.freeze_detector import ALIVE_FRAMES, FROZEN_S, FreezeDetector
from streamcam.types import Frame, Image
from tests.support.media import noise

FPS = 30
SCENES = [frame.image for frame in noise(8)]
STILL = SCENES[0]


class Camera:
    """Feeds a `FreezeDetector` with frames at 30 per second; each method returns its verdict."""

    def __init__(self) -> None:
        self.detector = FreezeDetector()
        self._numbers: Iterator[int] = count()

    def shows(self, image: Image) -> bool:
        index = next(self._numbers)
        return self.detector.is_frozen(Frame(image.copy(), index, index / FPS))

    def moves(self, frames: int) -> bool:
        return any(self.shows(SCENES[1 + i % 7]) for i in range(frames))

    def stands(self, seconds: float) -> bool:
        return any(self.shows(STILL) for _ in range(round(seconds * FPS)))


def test_a_camera_that_starts_to_repeat_one_frame_is_frozen_within_two_seconds() -> None:
    camera = Camera()
    assert not camera.moves(ALIVE_FRAMES + 2)
    assert not camera.stands(FROZEN_S - 0.1)
    assert camera.stands(0.3)


def test_a_source_that_stood_still_before_is_never_judged() -> None:
    camera = Camera()
    assert not camera.stands(20)
    camera.moves(ALIVE_FRAMES // 2)
    assert not camera.stands(20)


def test_a_still_scene_costs_one_reopening_only() -> None:
    camera = Camera()
    camera.moves(ALIVE_FRAMES + 2)
    assert camera.stands(3)
    camera.detector.restart()
    assert not camera.stands(20)
    assert not camera.moves(2 * ALIVE_FRAMES)
    assert not camera.stands(20)


def test_a_camera_that_moves_after_reopening_is_judged_again() -> None:
    camera = Camera()
    camera.moves(ALIVE_FRAMES + 2)
    assert camera.stands(3)
    camera.detector.restart()
    assert not camera.moves(ALIVE_FRAMES + 2)
    assert camera.stands(3)


def test_frames_that_differ_in_one_pixel_are_not_the_same() -> None:
    camera = Camera()
    camera.moves(ALIVE_FRAMES + 2)
    changing = np.copy(STILL)
    for i in range(200):
        changing[1, 1, 0] = i
        assert not camera.shows(changing)
