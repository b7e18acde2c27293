import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.errors import MediaError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources.file_source import FileSource
from streamcam.sources.playback import LivePlayback, RepeatedImage
from streamcam.sources.source_table import open_file_source, open_source
from streamcam.types import Frame, Image
from tests.support.media import RATE, encode, noise, plain

PERIOD = float(1 / RATE)


class Clock:
    """A clock that moves only when somebody waits or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


class GreyVideo(FileSource):
    """Grey frames, the n-th of brightness n, each taking `decoding_s` seconds to decode."""

    def __init__(self, frames: int, clock: Clock, decoding_s: float = 0.0) -> None:
        super().__init__(RATE, frames)
        self._frames, self._clock, self._decoding_s = frames, clock, decoding_s

    def images(self) -> Iterator[Image]:
        for n in range(self._frames):
            self._clock.now += self._decoding_s
            yield plain((n, n, n))


def played(video: Callable[[Clock], GreyVideo], *, loop: bool) -> tuple[Clock, Iterator[Frame]]:
    clock = Clock()
    return clock, iter(LivePlayback(lambda: video(clock), loop=loop, clock=clock, wait=clock.wait))


def brightness(frames: list[Frame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def gaps(frames: list[Frame]) -> list[float]:
    return np.diff([frame.captured_at for frame in frames]).tolist()


def test_a_file_plays_at_its_own_pace() -> None:
    _, frames = played(partial(GreyVideo, 10), loop=False)
    got = list(frames)
    assert brightness(got) == list(range(10))
    assert got[0].captured_at == 100.0
    assert gaps(got) == pytest.approx([PERIOD] * 9)


class HoldingVideo(GreyVideo):
    """Grey frames of which the third is held for six seconds, as in a recording of a screen."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            late = 6.0 if frame.index > 2 else 0.0
            yield replace(frame, captured_at=frame.captured_at + late)


def test_a_long_hold_lasts_and_its_frame_is_given_again_meanwhile() -> None:
    _, frames = played(partial(HoldingVideo, 5), loop=False)
    got = list(frames)
    assert [frame.index for frame in got] == list(range(len(got)))
    assert sorted(set(brightness(got))) == list(range(5))
    assert got[-1].captured_at == pytest.approx(106.0 + 4 * PERIOD)
    assert max(gaps(got)) < 0.3
    assert brightness(got)[3:-2] == [2] * (len(got) - 5)


def test_a_hold_shows_the_frame_before_it_even_if_that_was_late() -> None:
    clock, frames = played(partial(HoldingVideo, 5), loop=False)
    next(frames)
    clock.now += 5 * PERIOD
    assert brightness([next(frames)]) == [2]


def test_stopping_ends_a_hold_at_once() -> None:
    clock = Clock()
    playback = LivePlayback(partial(HoldingVideo, 5, clock), loop=False)
    frames = iter(playback)
    assert brightness(list(islice(frames, 4)))[-1] == 2
    playback.stop()
    assert list(frames) == []


def test_a_loop_goes_on_counting_and_keeps_the_rate() -> None:
    _, frames = played(partial(GreyVideo, 4), loop=True)
    got = list(islice(frames, 10))
    assert brightness(got) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [frame.index for frame in got] == list(range(10))
    assert gaps(got) == pytest.approx([PERIOD] * 9)


class TimedVideo(FileSource):
    """Grey frames, the n-th of brightness n and shown for the n-th of `durations`, in seconds."""

    def __init__(self, durations: Sequence[float]) -> None:
        super().__init__(RATE, len(durations))
        self._durations = durations

    def images(self) -> Iterator[Image]:
        return (frame.image for frame in self)

    def __iter__(self) -> Iterator[Frame]:
        for n, duration in enumerate(self._durations):
            yield Frame(plain((n, n, n)), n, sum(self._durations[:n]), duration=duration)


def played_for(durations: Sequence[float], *, loop: bool = True) -> Iterator[Frame]:
    clock = Clock()
    opened = partial(TimedVideo, durations)
    return iter(LivePlayback(opened, loop=loop, clock=clock, wait=clock.wait))


def test_the_last_frame_of_a_round_is_shown_for_its_duration() -> None:
    changes = groupby(played_for([0.5, 1.0, 1.5]), key=lambda frame: int(frame.image[0, 0, 0]))
    times = [next(frames).captured_at - 100 for _, frames in islice(changes, 9)]
    assert times == pytest.approx([0, 0.5, 1.5, 3, 3.5, 4.5, 6, 6.5, 7.5])


def test_the_very_last_frame_too_is_shown_for_its_duration() -> None:
    clock = Clock()
    opened = partial(TimedVideo, [0.5, 4.0])
    got = list(LivePlayback(opened, loop=False, clock=clock, wait=clock.wait))
    assert sorted(set(brightness(got))) == [0, 1]
    assert max(gaps(got)) < 0.3
    assert clock.now == pytest.approx(104.5)


def test_a_slow_reader_misses_frames_of_any_duration_and_the_file_stays_on_time() -> None:
    clock = Clock()
    opened = partial(TimedVideo, [0.15] + [0.04] * 60)
    frames = iter(LivePlayback(opened, loop=False, clock=clock, wait=clock.wait))
    got = [next(frames), next(frames)]
    clock.now += 0.4
    got += list(frames)
    assert brightness(got)[2] == pytest.approx(11, abs=1)
    assert got[-1].captured_at == pytest.approx(100 + 0.15 + 59 * 0.04)


def test_the_same_damage_is_logged_once_and_not_at_every_round(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for level in range(4):
        Pillow.fromarray(plain((level, level, level))).save(tmp_path / f"{level}.png")
    (tmp_path / "1.png").write_bytes(b"damaged")
    source = open_source(str(tmp_path), BroadcastSettings())
    with caplog.at_level(logging.WARNING):
        assert brightness(list(islice(source, 9))) == [0, 2, 3] * 3
    assert caplog.text.count("cannot read the image") == 1


def test_an_animation_is_played_and_one_image_of_any_name_repeated(tmp_path: Path) -> None:
    images = [Pillow.fromarray(plain((level, level, level))) for level in (40, 80)]
    settings = BroadcastSettings()
    path = tmp_path / "a.png"
    images[0].save(path, save_all=True, append_images=images[1:], duration=20)
    assert brightness(list(islice(open_source(str(path), settings), 4))) == [40, 80, 40, 80]
    images[0].save(tmp_path / "b", "PNG")
    once = settings.model_copy(update={"loop": False})
    assert brightness(list(islice(open_source(f"file:{tmp_path / 'b'}", once), 3))) == [40, 40, 40]


def test_a_slow_reader_misses_frames_and_the_file_stays_on_time() -> None:
    clock, frames = played(partial(GreyVideo, 60), loop=False)
    got = [next(frames)]
    clock.now += 10 * PERIOD
    got += list(frames)
    assert 9 <= brightness(got)[1] <= 10
    assert brightness(got)[-1] == 59
    assert got[-1].captured_at == pytest.approx(100 + 59 * PERIOD)
    assert min(gaps(got)) > -1e-9


def test_a_slow_decoder_makes_the_file_run_slower_but_whole() -> None:
    _, frames = played(lambda clock: GreyVideo(30, clock, decoding_s=1.5 * PERIOD), loop=False)
    got = list(frames)
    assert brightness(got) == list(range(30))
    assert max(gaps(got)) < 2.1 * PERIOD
    assert got[-1].captured_at == pytest.approx(100 + 30 * 1.5 * PERIOD, rel=0.02)


def test_after_a_suspended_machine_nothing_is_caught_up_with() -> None:
    clock, frames = played(partial(GreyVideo, 60), loop=False)
    first = next(frames)
    clock.now += 3600
    got = [first, *frames]
    assert brightness(got) == list(range(60))
    assert gaps(got)[1:] == pytest.approx([PERIOD] * 58)


def test_a_damaged_end_counts_as_the_end(caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(GreyVideo):
        def images(self) -> Iterator[Image]:
            yield from super().images()
            raise MediaError("damaged after frame 3")

    _, frames = played(partial(Damaged, 4), loop=True)
    with caplog.at_level(logging.WARNING):
        got = list(islice(frames, 10))
    assert brightness(got) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert gaps(got) == pytest.approx([PERIOD] * 9)
    assert "damaged after frame 3" in caplog.text
    assert len(list(played(partial(Damaged, 4), loop=False)[1])) == 4


def test_a_truncated_video_plays_as_far_as_it_goes_and_loops(tmp_path: Path) -> None:
    clock = Clock()
    images = [frame.image for frame in noise(40)]
    whole = encode(tmp_path / "whole.mp4", images, movflags="faststart").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    reopen = partial(open_file_source, cut, RATE)
    got = list(islice(LivePlayback(reopen, loop=True, clock=clock, wait=clock.wait), 60))
    assert [frame.index for frame in got] == list(range(60))
    assert gaps(got) == pytest.approx([PERIOD] * 59, abs=0.5 * PERIOD)


def test_a_file_without_a_single_frame_is_an_error_and_not_an_endless_loop() -> None:
    class Broken(GreyVideo):
        def images(self) -> Iterator[Image]:
            raise MediaError("damaged")

    _, frames = played(partial(Broken, 3), loop=True)
    with pytest.raises(MediaError, match="damaged"):
        next(frames)


def test_one_image_becomes_a_steady_stream() -> None:
    clock = Clock()
    repeated = partial(RepeatedImage, partial(GreyVideo, 1, clock))
    got = list(islice(LivePlayback(repeated, loop=True, clock=clock, wait=clock.wait), 50))
    assert len({id(frame.image) for frame in got}) == 1
    assert gaps(got) == pytest.approx([PERIOD] * 49)


def test_stopping_ends_a_wait_at_once() -> None:
    clock = Clock()
    playback = LivePlayback(partial(GreyVideo, 1000, clock), loop=True)
    frames = iter(playback)
    next(frames)
    playback.stop()
    assert list(frames) == []
