import time
from itertools import islice
from pathlib import Path

import pytest

from streamcam.errors import ConfigError, DeviceError, MediaError, StreamcamError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources import frame_code
from streamcam.sources.camera import Camera
from streamcam.sources.camera_list import CameraInfo
from streamcam.sources.demo import Demo
from streamcam.sources.network_stream import NetworkStream
from streamcam.sources.pattern import MovingPattern
from streamcam.sources.playback import LivePlayback
from streamcam.sources.source_table import open_source
from tests.support.media import encode, noise
from tests.support.plugin_packages import PluginPackages

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
        ("RTSP://10.0.0.7/live", NetworkStream),
        ("https://example.org/live.m3u8", NetworkStream),
    ],
)
def test_each_kind_opens_its_own_source(spec: str, kind: type) -> None:
    assert isinstance(open_source(spec, SETTINGS), kind)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("webcam", r'no source or file "webcam": did you mean "camera"\?'),
        ("webcm", r'no source or file "webcm": did you mean "webcam"\?'),
        ("patern", r'no source or file "patern": did you mean "pattern"\?'),
        ("xyz:1", r'no source or file "xyz:1": known: camera, demo, file, pattern'),
        ("demo:1", r'"demo" takes nothing after it, got "1"'),
        ("pattern:1", r'"pattern" takes nothing after it, got "1"'),
        ("file", r'"file" needs a path, such as file:clip.mp4'),
        ("rtsp:camera", r'"rtsp:camera" is no URL; it should begin with rtsp://'),
        ("rtps://camera", r'no source is read over "rtps://": did you mean "rtsps"\?'),
    ],
)
def test_a_wrong_source_is_refused_with_what_would_be_right(spec: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        open_source(spec, SETTINGS)


@pytest.mark.parametrize(
    "spec", ["file:///etc/passwd", "concat://a", "subfile://x", "pipe://0", "ftp://host/x.mp4"]
)
def test_protocols_that_reach_into_this_machine_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="no source is read over"):
        open_source(spec, SETTINGS)


@pytest.mark.parametrize("spec", ["missing.mp4", "concat:a.mp4|b.mp4", "folder/missing"])
def test_any_other_name_is_a_path(spec: str) -> None:
    with pytest.raises(MediaError, match="no such input"):
        open_source(spec, SETTINGS)


@pytest.mark.parametrize("prefix", ["", "file:", "/"])
def test_a_file_is_played(tmp_path: Path, prefix: str) -> None:
    path = encode(tmp_path / "a.mp4", [frame.image for frame in noise(5)])
    source = open_source(f"{prefix}{path}", SETTINGS)
    assert isinstance(source, LivePlayback)
    with source:
        got = list(islice(source, 8))
    assert [frame.index for frame in got] == list(range(8))
    assert abs(got[-1].captured_at - time.monotonic()) < 1


def test_the_pattern_carries_its_own_index_and_time() -> None:
    with open_source("pattern", SETTINGS) as source:
        for frame in islice(source, 10):
            code = frame_code.read(frame.image)
            assert code is not None
            assert code[0] == frame.index
            assert code[1] == pytest.approx(frame.captured_at, abs=0.001)
            assert frame.image.shape == (240, 320, 3)


def test_the_pattern_stays_on_time_when_its_reader_is_slow() -> None:
    with open_source("pattern", SETTINGS) as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.2)
        late = next(frames)
    assert late.index - first.index >= 9


def test_the_pattern_can_be_tiny_and_stops_at_once() -> None:
    source = open_source("pattern", BroadcastSettings(canvas=(16, 16), fps=1))
    with source:
        frames = iter(source)
        assert next(frames).image.shape == (16, 16, 3)
        source.stop()
        began = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - began < 0.8


def test_a_plugin_adds_a_kind_of_source(plugins: PluginPackages) -> None:
    plugins.install(
        "streamcam-ndi",
        module="streamcam_ndi",
        source="""
            from streamcam.sources.pattern import MovingPattern
            class NdiSource(MovingPattern):
                def __init__(self, which, settings):
                    super().__init__(*settings.canvas, settings.rate)
                    self.which = which
        """,
        entry_points="[streamcam.sources]\nndi = streamcam_ndi:NdiSource\n",
    )
    for spec, which in (("ndi", ""), ("ndi:Studio 1", "Studio 1"), ("ndi://host", "//host")):
        source = open_source(spec, SETTINGS)
        assert getattr(source, "which") == which  # noqa: B009
        with source:
            assert next(iter(source)).image.shape == (240, 320, 3)
    with pytest.raises(ConfigError, match=r'no source or file "nid": did you mean "ndi"\?'):
        open_source("nid", SETTINGS)
    with pytest.raises(ConfigError, match=r'read over "nid://": did you mean "ndi"\?'):
        open_source("nid://host", SETTINGS)


def test_a_plugin_that_breaks_is_named_with_its_package(plugins: PluginPackages) -> None:
    plugins.install(
        "streamcam-broken",
        module="streamcam_broken",
        source="import no_such_library_anywhere",
        entry_points="[streamcam.sources]\nbroken = streamcam_broken:Source\n",
    )
    reason = r'"broken" of the package streamcam-broken 1\.2 .*no_such_library_anywhere'
    with pytest.raises(StreamcamError, match=reason):
        open_source("broken", SETTINGS)


def test_a_plugin_cannot_take_the_place_of_a_built_in_source(plugins: PluginPackages) -> None:
    plugins.install(
        "streamcam-other",
        module="streamcam_other",
        source="open_source = None",
        entry_points="[streamcam.sources]\ndemo = streamcam_other:open_source\n",
    )
    assert isinstance(open_source("demo", SETTINGS), Demo)


def test_a_camera_refuses_the_virtual_cameras_that_the_broadcast_writes_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = CameraInfo("Studio A", "/dev/video11", "/dev/video11", virtual=True)
    monkeypatch.setattr("streamcam.sources.camera.cameras", lambda: (found,))
    settings = BroadcastSettings(sink=("virtual-camera:studio", "preview"))
    with pytest.raises(DeviceError, match="own virtual camera"):
        open_source("camera:Studio A", settings).__enter__()
