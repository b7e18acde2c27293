import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from streamcam.errors import ConfigError, DeviceError, MediaError, StreamcamError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sinks.null import NullSink
from streamcam.sinks.preview import Preview
from streamcam.sinks.recorder import Recorder
from streamcam.sinks.sink_table import open_sink
from streamcam.sinks.virtual_camera import VirtualCamera
from streamcam.types import Sink
from tests.support.media import decoded, noise
from tests.support.plugin_packages import PluginPackages
from tests.support.scenes import FakeBroadcastView


def opened(spec: str, **settings: object) -> Sink:
    """Open the sink `spec` within a broadcast."""
    return open_sink(spec, BroadcastSettings.parse(settings), FakeBroadcastView())


def test_null_counts_the_frames_sent_to_it() -> None:
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


@pytest.mark.parametrize("given", [True, False])
def test_only_a_preview_port_that_was_not_asked_for_gives_way(*, given: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = BroadcastSettings.parse({"preview_port": port} if given else {})
        settings = BroadcastSettings.model_construct(
            settings.model_fields_set, **dict(settings) | {"preview_port": port}
        )
        sink = open_sink("preview", settings, FakeBroadcastView())
        with pytest.raises(DeviceError) if given else nullcontext(), sink:
            assert f":{port}/" not in sink.url  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", ["virtual-camera", "virtual_camera:Stage left", "VIRTUAL-CAMERA"])
def test_a_virtual_camera_takes_its_label(spec: str) -> None:
    pytest.importorskip("streamcam.sinks.virtual_camera")
    assert type(opened(spec)).__name__ == "VirtualCamera"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("previw", r'unknown sink "previw": did you mean "preview"\?'),
        ("obss", r'unknown sink "obss": did you mean "obs"\?'),
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
def test_a_wrong_sink_is_refused_with_what_would_be_right(spec: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        opened(spec)


def test_a_folder_that_does_not_exist_is_reported_before_recording(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no folder .*/gone; make it first"):
        opened(f"recorder:{tmp_path}/gone/a.mkv")


@pytest.mark.parametrize("spec", ["virtual-camera", "null"])
def test_a_sink_that_reads_no_state_works_without_a_broadcast(spec: str) -> None:
    assert isinstance(open_sink(spec, BroadcastSettings(), None), VirtualCamera | NullSink)


@pytest.mark.parametrize("kind", ["preview", "recorder"])
def test_a_sink_that_reads_the_state_of_a_broadcast_says_that_it_needs_one(
    tmp_path: Path, kind: str
) -> None:
    spec = f"recorder:{tmp_path}/a.mkv" if kind == "recorder" else kind
    with pytest.raises(ConfigError, match=rf'sink "{kind}" .* works only within one'):
        open_sink(spec, BroadcastSettings(), None)


def test_a_plugin_adds_a_kind_of_sink(plugins: PluginPackages) -> None:
    plugins.install(
        "streamcam-ndi",
        module="streamcam_ndi_sink",
        source="""
            from streamcam.sinks.null import NullSink
            class NdiSink(NullSink):
                def __init__(self, which, settings, view):
                    super().__init__()
                    self.opened_with = which, settings.fps, view
        """,
        entry_points="[streamcam.sinks]\nndi = streamcam_ndi_sink:NdiSink\n",
    )
    sink = open_sink("NDI:Studio 1", BroadcastSettings(fps=25), None)
    assert getattr(sink, "opened_with") == ("Studio 1", 25, None)  # noqa: B009
    with sink:
        sink.send(noise(1)[0])
    with pytest.raises(ConfigError, match=r'unknown sink "nid": did you mean "ndi"\?'):
        opened("nid")


def test_a_plugin_without_its_factory_is_named_with_its_package(plugins: PluginPackages) -> None:
    plugins.install(
        "streamcam-broken",
        module="streamcam_broken_sink",
        source="",
        entry_points="[streamcam.sinks]\nbroken = streamcam_broken_sink:Sink\n",
    )
    reason = r'"broken" of the package streamcam-broken 1\.2 .*has no attribute .Sink'
    with pytest.raises(StreamcamError, match=reason):
        opened("broken")
