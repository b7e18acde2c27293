"""Pending frames: every frame gets its output once, in order, skipped ones the output before."""

import numpy as np

from streamcam.diffusion.pending_frames import PendingFrames
from streamcam.frames.transfer import DownloadedImage
from streamcam.types import Frame


def frame(index: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), index, index / 10)


def image(level: int) -> DownloadedImage:
    return DownloadedImage(np.full((2, 2, 3), level, np.uint8))


def shown(frames: list[Frame]) -> list[tuple[int, int]]:
    """Return the index and the grey level of `frames`."""
    return [(output.index, int(output.image[0, 0, 0])) for output in frames]


def no_wait() -> None:
    return


def test_skipped_frames_are_shown_with_the_output_before_them_once_it_is_out() -> None:
    pending = PendingFrames()
    pending.add(frame(0), None)
    assert pending.add_skipped(frame(1)) == []
    pending.add(frame(2), None)
    assert pending.add_skipped(frame(3)) == []
    pending.start_download([image(10)], no_wait)
    assert shown(pending.finish_download()) == [(0, 10), (1, 10)]
    pending.start_download([image(20)], no_wait)
    assert shown(pending.finish_download()) == [(2, 20), (3, 20)]
    assert not pending


def test_a_skipped_frame_says_which_frame_its_image_was_made_of() -> None:
    pending = PendingFrames()
    pending.add(frame(4), None)
    pending.add_skipped(frame(5))
    pending.start_download([image(10)], no_wait)
    outputs = [*pending.finish_download(), *pending.add_skipped(frame(6))]
    assert [(o.index, o.made_of) for o in outputs] == [(4, None), (5, 4), (6, 4)]


def test_a_frame_skipped_with_nothing_in_flight_is_shown_at_once() -> None:
    pending = PendingFrames()
    pending.add(frame(0), None)
    pending.start_download([image(10)], no_wait)
    pending.finish_download()
    assert shown(pending.add_skipped(frame(1))) == [(1, 10)]


def test_a_skipped_frame_finishes_the_download_and_comes_after_it() -> None:
    pending, waits = PendingFrames(), []
    pending.add(frame(0), None)
    pending.start_download([image(10)], lambda: waits.append(1))
    assert waits == []
    assert shown(pending.add_skipped(frame(1))) == [(0, 10), (1, 10)]
    assert waits == [1]
    assert pending.finish_download() == []


def test_images_beyond_the_pending_frames_are_left_out() -> None:
    pending = PendingFrames()
    pending.add(frame(0), None)
    pending.start_download([image(10), image(20)], no_wait)
    assert shown(pending.finish_download()) == [(0, 10)]


def test_outputs_keep_the_capture_time_and_the_packed_image() -> None:
    pending, packed = PendingFrames(), np.ones(8, np.uint8)
    pending.add(frame(7), None)
    pending.start_download([image(1)._replace(packed=packed)], no_wait)
    [output] = pending.finish_download()
    assert (output.captured_at, output.packed) == (0.7, packed)


def test_the_newest_processed_frame_shown_is_kept_for_the_similarity_filter() -> None:
    pending, vectors = PendingFrames(), [np.full(3, i, np.float32) for i in range(2)]
    for index, vector in enumerate(vectors):
        pending.add(frame(index), vector)
    pending.start_download([image(10)], no_wait)
    assert pending.last_shown is vectors[0]
    pending.reset()
    assert pending.last_shown is None
    assert not pending
