import numpy as np

from streamcam.sources.generated import Blank, Pattern
from tests.support.media import RATE


def test_the_pattern_moves_and_is_the_same_every_time() -> None:
    first, again = (list(Pattern(64, 48, RATE, 4)) for _ in range(2))
    assert [frame.index for frame in first] == [0, 1, 2, 3]
    assert first[0].image.shape == (48, 64, 3)
    assert not np.array_equal(first[0].image, first[3].image)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.image, b.image)


def test_the_pattern_can_be_tiny() -> None:
    (frame,) = Pattern(8, 8, RATE, 1)
    assert frame.image.shape == (8, 8, 3)


def test_without_a_length_the_pattern_goes_on() -> None:
    frames = iter(Pattern(64, 48, RATE, None))
    assert [next(frames).index for _ in range(50)] == list(range(50))


def test_blank_frames_are_black_and_evenly_timed() -> None:
    frames = list(Blank(64, 48, RATE, 3))
    assert [round(frame.captured_at * 30) for frame in frames] == [0, 1, 2]
    assert not any(frame.image.any() for frame in frames)
