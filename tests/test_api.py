"""The public API as a user's program has it: names, types, streams, sources, sinks, broadcasts."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import streamcam
from tests.support.media import noise, read, write

ROOT = Path(__file__).resolve().parents[1]
TINY = {"model": "random:tiny-sd-turbo", "width": 64, "height": 64, "acceleration": "eager"}
CANVAS = {"canvas": "64x48", "fps": 30}


def examples(page: str) -> list[str]:
    """Return the Python programs that a page shows."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_every_public_name_is_there_and_no_more() -> None:
    assert set(dir(streamcam)) == set(streamcam.__all__)
    for name in streamcam.__all__:
        assert getattr(streamcam, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = streamcam.nothing


def test_import_streamcam_is_light() -> None:
    heavy = ("torch", "diffusers", "pydantic", "cv2", "av", "starlette")
    script = f"import sys, streamcam; print([n for n in {heavy} if n in sys.modules])"
    assert run(script, ROOT).stdout == "[]\n"


def test_the_readme_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = examples("README.md")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "camera.mkv", noise(6))
    example = example.replace('"camera"', '"camera.mkv"').replace('"virtual-camera"', '"out.npy"')
    exec(example, {})
    outputs = read(tmp_path / "out.npy")
    # One step, so every frame is out already.
    assert len(outputs) == 6
    assert outputs[-1].image.std() > 5


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, files, broadcast = examples("docs/api.md")
    assert [camera] == examples("README.md")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.mp4", noise(5))
    exec(files, {})
    assert len(read(tmp_path / "out.mp4")) == 5
    program = tmp_path / "show.py"
    program.write_text(
        broadcast.replace('source="camera"', 'source="pattern", sink="null", osc=False').replace(
            "wait(60)", "wait(1)"
        )
    )
    shown = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=200, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "Status(state=" in shown.stdout


def test_a_stream_takes_arrays_of_any_size_and_gives_frames_in_order() -> None:
    stream = streamcam.open_stream(**TINY, steps=2)
    image = np.zeros((48, 80, 3), np.uint8)
    outputs = [output for _ in range(3) for output in stream(image)]
    outputs += stream.flush()
    assert [output.index for output in outputs] == [0, 1, 2]
    assert outputs[0].image.shape == (64, 64, 3)


def test_a_stream_s_parameters_change_between_frames() -> None:
    stream = streamcam.open_stream(**TINY, cfg_type="none", t_index_list=[0], seed=1)
    image = np.full((64, 64, 3), 90, np.uint8)
    [first], [again] = stream(image), stream(image)
    stream.update(seed=2)
    [changed] = stream(image)
    assert (first.image == again.image).all()
    assert (changed.image != again.image).any()
    assert stream.parameters.seed == 2
    with pytest.raises(streamcam.ParameterError, match="guidance_scale"):
        stream.update(guidance_scale=-1)
    with pytest.raises(streamcam.ParameterError, match="fixed at start"):
        stream.update(width=128)


def test_a_stream_fades_over_time() -> None:
    stream = streamcam.open_stream(**TINY, guidance_scale=1.0)
    stream.update(guidance_scale=3.0, over=30.0)
    stream(np.zeros((64, 64, 3), np.uint8))
    assert 1.0 <= stream.parameters.guidance_scale < 3.0


def test_presets_and_settings_make_a_config() -> None:
    config = streamcam.make_config(presets=["neon"], width=256, height=128)
    assert (config.width, config.height) == (256, 128)
    assert "neon" in config.live.prompt[0][0]
    with pytest.raises(streamcam.ConfigError, match='did you mean "width"'):
        streamcam.make_config(widht=256)
    with pytest.raises(streamcam.ConfigError, match="not both"):
        streamcam.open_stream(config, width=64)


def test_a_file_gives_every_frame_and_can_be_paced(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", noise(4))
    with streamcam.open_source(tmp_path / "a.mkv") as source:
        assert [frame.index for frame in source] == [0, 1, 2, 3]
    with streamcam.open_source(tmp_path / "a.mkv", paced=True, loop=True) as source:
        stamps = [frame.captured_at for frame, _ in zip(source, range(8), strict=False)]
    assert len(stamps) == 8
    assert stamps[-1] > stamps[0]
    assert abs(stamps[-1] - time.monotonic()) < 60


def test_a_live_source_is_opened_by_its_kind() -> None:
    with streamcam.open_source("pattern", **CANVAS) as source:
        frame = next(iter(source))
    assert frame.image.shape == (48, 64, 3)
    with pytest.raises(streamcam.ConfigError, match='did you mean "pattern"'):
        streamcam.open_source("patern")
    with pytest.raises(streamcam.MediaError, match=r"nowhere\.mp4"):
        streamcam.open_source("nowhere.mp4")


def test_a_live_sink_gets_every_frame_at_the_size_of_the_canvas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from streamcam.sinks.null import NullSink

    sent: list[streamcam.Frame] = []
    monkeypatch.setattr(NullSink, "send", lambda _self, frame: sent.append(frame))
    with streamcam.open_sink("null", **CANVAS) as sink:
        sink.send(streamcam.Frame(np.full((64, 64, 3), 255, np.uint8), 0, 0.0))
        sink.send(streamcam.Frame(np.full((48, 64, 3), 255, np.uint8), 1, 0.0))
    assert [frame.image.shape for frame in sent] == [(48, 64, 3), (48, 64, 3)]
    assert sent[0].image[0, 0].max() == 0  # A bar, since the shape is another.


def test_a_path_is_written_and_a_sink_that_needs_a_broadcast_is_refused(tmp_path: Path) -> None:
    with streamcam.open_sink(tmp_path / "a.png") as sink:
        sink.send(streamcam.Frame(np.full((8, 8, 3), 9, np.uint8), 0, 0.0))
    assert (tmp_path / "a.png").exists()
    with pytest.raises(streamcam.MediaError, match="exists; choose another name"):
        streamcam.open_sink(tmp_path / "a.png")
    streamcam.open_sink(tmp_path / "a.png", overwrite=True)
    with pytest.raises(streamcam.ConfigError, match=r"streamcam\.Broadcast"):
        streamcam.open_sink("preview")
    for name in ("obs", "/dev/video10"):
        assert isinstance(streamcam.open_sink(name), streamcam.api._CanvasSink)
    (tmp_path / "obs").mkdir()
    assert not isinstance(streamcam.open_sink(str(tmp_path / "obs")), streamcam.api._CanvasSink)
    with pytest.raises(streamcam.MediaError, match="no folder"):
        streamcam.open_sink(tmp_path / "nowhere" / "a.mkv")


def test_a_broadcast_is_updated_and_ends_with_its_block(tmp_path: Path) -> None:
    out = tmp_path / "show.mkv"
    settings = {"model": "passthrough", "source": "pattern", "osc": False, **CANVAS}
    with streamcam.Broadcast(**settings, sink=["null", f"recorder:{out}"]) as broadcast:
        assert broadcast.wait_until_sending(20)
        assert broadcast.sending() == {"null", f"recorder:{out}"}
        broadcast.update(mirror=True)
        assert broadcast.parameters.mirror
        assert broadcast.status().state == "passthrough"
        assert not broadcast.wait(0.5)
    assert out.exists()
    assert '"mirror": true' in out.with_suffix(".cues.jsonl").read_text()


def test_a_model_that_is_not_there_is_refused_before_the_broadcast() -> None:
    with pytest.raises(streamcam.StreamcamError, match="nowhere"):
        streamcam.Broadcast(model="./nowhere/model.safetensors", source="pattern", sink="null")


def test_a_model_that_cannot_be_loaded_ends_a_broadcast_with_its_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"no weights")
    broadcast = streamcam.Broadcast(model=str(path), source="pattern", sink="null", osc=False)
    with pytest.raises(streamcam.StreamcamError, match=r"damaged\.safetensors"), broadcast:
        broadcast.wait(200)
