import time
from itertools import islice
from pathlib import Path

import pytest

from streamcam.errors import ConfigError, MediaError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources import frame_code
from streamcam.sources.camera import Camera
from streamcam.sources.demo import Demo
from streamcam.sources.source_table import open_live
from streamcam.sources.network_stream import NetworkStream
from streamcam.sources.pattern import MovingPattern
from streamcam.sources.playback import LivePlayback
from tests.support.media import encode, noise

SETTINGS = BroadcastSettings(canvas=(320, 240), fps=50)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("camera", Camera),
        ("camera:C920", Camera),
        ("camera:/dev/video7", Camera),
        ("pattern", MovingPattern),
        ("demo", Demo),
        ("rtsp://user:word@10.0.0.7/live", NetworkStream),
        ("https://example.org/live.m3u8", NetworkStream),
    ],
)
def test_a_source_is_known_by_its_kind(spec: str, kind: type) -> None:
    assert isinstance(open_live(spec, SETTINGS), kind)


@pytest.mark.parametrize("spec", ["webcam", "cam", "patern"])
def test_an_unknown_kind_is_refused_with_those_known(spec: str) -> None:
    with pytest.raises(ConfigError, match="camera, demo, pattern, a URL or a file"):
        open_live(spec, SETTINGS)


@pytest.mark.parametrize(
    "spec", ["file:///etc/passwd", "concat://a", "subfile://x", "pipe://0", "ftp://host/x.mp4"]
)
def test_protocols_that_reach_into_this_machine_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="no source is read over"):
        open_live(spec, SETTINGS)


@pytest.mark.parametrize("spec", ["missing.mp4", "concat:a.mp4|b.mp4", "folder/missing"])
def test_what_is_no_url_is_a_file(spec: str) -> None:
    with pytest.raises(MediaError, match="no such input"):
        open_live(spec, SETTINGS)


def test_a_file_is_played(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [frame.image for frame in noise(5)])
    source = open_live(str(path), SETTINGS)
    assert isinstance(source, LivePlayback)
    with source:
        got = list(islice(source, 8))
    assert [frame.index for frame in got] == list(range(8))
    assert abs(got[-1].captured_at - time.monotonic()) < 1


def test_the_test_picture_tells_its_own_number_and_time() -> None:
    with open_live("pattern", SETTINGS) as source:
        for frame in islice(source, 10):
            told = frame_code.read(frame.image)
            assert told is not None
            assert told[0] == frame.index
            assert told[1] == pytest.approx(frame.captured_at, abs=0.001)
            assert frame.image.shape == (240, 320, 3)


def test_the_test_picture_keeps_time_whoever_is_slow() -> None:
    with open_live("pattern", SETTINGS) as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.2)
        late = next(frames)
    assert late.index - first.index >= 9


def test_the_test_picture_can_be_tiny_and_stops_at_once() -> None:
    source = open_live("pattern", BroadcastSettings(canvas=(16, 16), fps=1))
    with source:
        frames = iter(source)
        assert next(frames).image.shape == (16, 16, 3)
        source.stop()
        began = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - began < 0.8
