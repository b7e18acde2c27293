from pathlib import Path

import pytest

from streamcam.errors import ConfigError, MediaError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sinks.sink_table import open_live
from streamcam.sinks.null import NullSink
from streamcam.sinks.preview import Preview
from streamcam.sinks.recorder import Recorder
from streamcam.types import Sink
from tests.support.media import decoded, noise
from tests.support.scenes import FakeBroadcastView


def opened(spec: str, **settings: object) -> Sink:
    return open_live(spec, BroadcastSettings.parse(settings), FakeBroadcastView())


def test_null_counts_what_it_is_sent() -> None:
    sink = opened("null")
    assert isinstance(sink, NullSink)
    for _ in range(2):
        with sink:
            for frame in noise(3):
                sink.send(frame)
    assert sink.count == 6


def test_a_recorder_takes_its_file_and_the_rate_of_the_broadcast(tmp_path: Path) -> None:
    sink = opened(f"recorder:{tmp_path}/a:b.mkv", fps=23.976)
    assert isinstance(sink, Recorder)
    assert sink.path == tmp_path / "a:b.mkv"
    assert sink._rate == BroadcastSettings(fps=23.976).rate
    with sink:
        sink.send(noise(1)[0])
    assert decoded(tmp_path / "a:b.mkv") == 1


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sink = opened("recorder:~/a.mkv")
    assert isinstance(sink, Recorder)
    assert sink.path == tmp_path / "a.mkv"


def test_the_preview_takes_its_address_from_the_settings() -> None:
    sink = opened("preview", preview_port=0)
    assert isinstance(sink, Preview)
    with sink:
        assert sink.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("spec", ["virtual-camera", "virtual_camera:Stage left", "VIRTUAL-CAMERA"])
def test_a_virtual_camera_takes_its_label(spec: str) -> None:
    pytest.importorskip("streamcam.sinks.virtual_camera")
    assert type(opened(spec)).__name__ == "VirtualCamera"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("previw", r'unknown sink "previw": did you mean "preview"\?'),
        ("", r'unknown sink "": known: null, preview, recorder, virtual-camera'),
        ("recoder:a.mkv", r'unknown sink "recoder:a.mkv": did you mean "recorder"\?'),
        ("recorder", r'"recorder" needs a file, such as recorder:show.mkv'),
        ("recorder:", r'"recorder" needs a file'),
        ("recorder:a.gif", r"cannot record a.gif: name a .mkv, .mp4"),
        ("recorder:shots", r"cannot record shots: name a .mkv, .mp4"),
        ("preview:80", r'"preview" takes nothing after it, got "80"; .*--preview-port'),
        ("null:x", r'"null" takes nothing after it, got "x"'),
    ],
)
def test_a_wrong_sink_is_told_with_what_would_be_right(spec: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        opened(spec)


def test_a_place_that_cannot_be_recorded_to_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no folder .*/gone; make it first"):
        opened(f"recorder:{tmp_path}/gone/a.mkv")
