from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from av.format import ContainerFormat

from streamcam.sources.pacing import Pacer

PERIOD = 1 / 25


@dataclass
class Clock:
    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def opened(name: str, *, size: int = -1, duration: int | None = None) -> Any:
    """Return what a `Pacer` reads of an open stream of the format `name`."""
    return SimpleNamespace(format=ContainerFormat(name, "r"), size=size, duration=duration)


def shown(
    container: Any, frames: list[tuple[float | None, float]], url: str = "http://host/a"
) -> list[float]:
    """Return when each frame is shown that comes at a clock time with a stream time."""
    clock = Clock()
    pacer = Pacer(url, container, PERIOD, clock.wait, clock)
    times = []
    for presented_at, arrives_at in frames:
        clock.now = max(clock.now, 100.0 + arrives_at)
        pacer.wait_until_due(presented_at)
        times.append(round(clock.now - 100, 6))
    return times


def at_rate(count: int, fps: float, *, stream_fps: float = 25, begin: float = 0.0) -> list[Any]:
    return [(i / stream_fps, begin + i / fps) for i in range(count)]


@pytest.mark.parametrize("fps", [5, 25, 30, 60])
@pytest.mark.parametrize(
    ("name", "size"), [("mpjpeg", -1), ("mpjpeg", 999_999_999), ("mjpeg", -1), ("h264", -1)]
)
def test_a_camera_whose_times_are_invented_is_shown_as_it_comes(
    name: str, size: int, fps: float
) -> None:
    frames = at_rate(2000, fps)
    arrivals = [arrival for _, arrival in frames]
    assert shown(opened(name, size=size), frames) == pytest.approx(arrivals, abs=1e-5)


@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
def test_a_live_stream_does_not_keep_the_delay_that_it_opened_with(drift: float) -> None:
    # Five seconds come at once, the rest as it is captured, for half an hour.
    frames = [(i / 2, max(0.1, (i / 2 - 5) * drift)) for i in range(2 * 1800)]
    arrivals = [arrival for _, arrival in frames]
    assert shown(opened("mpegts"), frames) == pytest.approx(arrivals, abs=1e-5)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "udp", "srt", "tcp"])
def test_other_protocols_than_http_are_live(scheme: str) -> None:
    frames = [(float(i), 0.01 * i) for i in range(100)]
    times = shown(opened("mpegts", size=10_000), frames, f"{scheme}://host/a")
    assert times[-1] == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("name", "size"), [("mov,mp4,m4a,3gp,3g2,mj2", 10_000), ("mpegts", 10_000), ("hls", -1)]
)
def test_what_is_stored_plays_at_its_own_pace(name: str, size: int) -> None:
    frames = [(i / 25, 0.001 * i) for i in range(500)]
    times = shown(opened(name, size=size, duration=1), frames)
    assert times == pytest.approx([i / 25 for i in range(500)], abs=0.01)


def test_a_file_without_a_length_is_noticed_once_it_comes_too_fast() -> None:
    frames = [(i / 25, 0.001 * i) for i in range(1000)]
    times = shown(opened("matroska,webm"), frames)
    assert times[250] < 1
    assert times[-1] - times[300] == pytest.approx(699 / 25, abs=0.1)


def test_a_file_that_came_late_is_not_caught_up_with() -> None:
    frames = [(0.0, 0.0), (0.04, 3.0), (0.08, 3.0), (0.12, 3.0)]
    times = shown(opened("mpegts", size=10_000), frames)
    assert times == pytest.approx([0, 3.0, 3.04, 3.08])


def test_a_live_playlist_catches_up_after_a_stall() -> None:
    frames = [(0.0, 0.0), (2.0, 5.0), (4.0, 5.0), (6.0, 5.0), (8.0, 5.0)]
    times = shown(opened("hls"), frames)
    assert times == pytest.approx([0, 5.0, 5.0, 6.0, 8.0])


def test_a_stored_stream_goes_on_where_its_time_jumps() -> None:
    frames = [(0.0, 0.0), (0.5, 0.0), (900.0, 0.0), (900.5, 0.0), (0.0, 0.0), (0.5, 0.0)]
    times = shown(opened("hls", duration=1), frames)
    assert times == pytest.approx([0, 0.5, 0.54, 1.04, 1.08, 1.58])


def test_a_hold_in_a_file_lasts() -> None:
    frames = [(0.0, 0.0), (30.0, 0.0), (30.04, 0.0)]
    assert shown(opened("matroska,webm", size=10_000), frames) == pytest.approx([0, 30, 30.04])
