"""Source frames: each output finds its own camera frame, and few are kept."""

import random

import numpy as np
import pytest

from streamcam.runtime.source_frames import MAX_BYTES, SourceFrame, SourceFrames

IMAGE = np.zeros((4, 4, 3), np.uint8)


def frame(index: int) -> SourceFrame:
    return SourceFrame(index, IMAGE, None)


@pytest.mark.parametrize("waiting", [1, 4])
@pytest.mark.parametrize("in_flight", [0, 3])
@pytest.mark.parametrize("slowness", [1, 2, 9, 40])
def test_every_output_finds_its_own_frame(waiting: int, in_flight: int, slowness: int) -> None:
    rng = random.Random(waiting + 10 * in_flight + 100 * slowness)
    frames, taken, newest_taken = SourceFrames(waiting), [], -1
    for index in range(600):
        frames.add(frame(index), newest_taken)
        if rng.random() < 1 / slowness:
            first = max(newest_taken + 1, index - waiting + 1)
            newest_taken = index
            taken += range(first, index + 1)
        while len(taken) > in_flight * waiting:
            output = taken.pop(0)
            found = frames.find(output)
            assert found is not None
            assert found.index == output
        assert len(frames) <= (in_flight + 2) * waiting + 10


def test_a_frame_stays_while_skipped_frames_show_its_output() -> None:
    frames = SourceFrames(1)
    for index in range(30):
        frames.add(frame(index), index - 1)
        assert frames.find(min(index, 5)) is not None


def test_the_oldest_frames_go_when_memory_runs_out() -> None:
    frames = SourceFrames(1)
    large = np.broadcast_to(IMAGE[:1, :1], (4320, 7680, 3))
    for index in range(9):
        frames.add(SourceFrame(index, large, None), index)
    assert len(frames) * large.nbytes <= MAX_BYTES
    assert frames.find(8) is not None
    assert frames.find(0) is None
