"""``streamcam bench video``, and errors of the command line about video models and engines."""

import json

import numpy as np
import pytest

from streamcam.bench import video_bench
from streamcam.cli import _run, streamcam
from streamcam.settings.config_layers import build_config
from streamcam.video import video_model
from tests.support.fake_graphs import FakeGraphs
from tests.support.media import run_script

TINY = ["--model", "random:tiny-wan", "--width", "64", "--height", "32", "--device", "cpu"]


def run_cli(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = _run(lambda **how: streamcam.main(list(words), **how))
    out, err = capsys.readouterr()
    return code, out, err


def test_it_measures_rate_stages_first_output_and_misses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TINY, "--set", "steps=1", "--set", "deadline=60", "--seconds", "1", "--json"]
    code, out, err = run_cli(capsys, "bench", "video", *words)
    assert code == 0, err
    figures = json.loads(out)["figures"]
    assert figures["fps"] > 0
    assert set(figures["stages_ms"]) == {"encode", "layers", "decode"}
    assert 0 < sum(figures["stages_ms"].values()) < 3 * figures["chunk_ms"]
    assert figures["first_picture_s"] >= 4 / 30  # The camera's time for five frames.
    assert figures["delivered"] > 0
    assert figures["misses"] == 0
    assert figures["memory"] > 1e6
    assert figures["ranks"] == []


def test_stages_that_are_replayed_as_graphs_are_measured_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = FakeGraphs()
    monkeypatch.setattr(video_model, "kind_of", lambda _device: "cuda")
    monkeypatch.setattr(video_model, "CudaCapture", lambda _device: graphs)
    captured: list[bool] = []
    # A wait for the device, which no capture permits.
    monkeypatch.setattr(video_bench, "synchronize", lambda _: captured.append(graphs.capturing))
    short = {"kv_frames": 4, "kv_sinks": 2, "deadline": 60, "steps": 1}
    tiny_ones = {"video_encoder": "taehv", "video_decoder": "taehv"}
    tiny = {"model": "random:tiny-wan", "pipeline": "video", "width": 32, "height": 32}
    config = build_config([tiny | short | tiny_ones])
    scene = [np.zeros((32, 32, 3), np.uint8)]
    result = video_bench.measure(config, scene, seconds=0.1, camera_fps=30)
    assert all(ms > 0 for ms in result.stages_ms.values())
    assert set(result.stages_ms) == {"encode", "layers", "decode"}
    assert sum(result.stages_ms.values()) < result.chunk_ms
    assert graphs.launches > 0
    assert captured
    assert not any(captured)


def test_several_devices_have_a_result_each() -> None:
    script = """
        from streamcam.cli import _run, streamcam
        words = {words!r}
        print(_run(lambda **how: streamcam.main(words, **how)))
    """
    words = ["bench", "video", *TINY, "--devices", "2", "--set", "deadline=60", "--seconds", "1"]
    *_, printed, code = run_script(script.format(words=[*words, "--json"]), "").splitlines()
    assert code == "0"
    figures = json.loads(printed)["figures"]
    first, second = figures["ranks"]
    assert first["layers"] + second["layers"] == 3
    assert first["fixed_ms"] > 0 == second["fixed_ms"]
    for rank in (first, second):
        assert rank["layers_ms"] > 0
        assert rank["waiting_ms"] >= 0
        assert rank["memory"] > 1e6


def test_it_refuses_the_image_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, "bench", "video", "--pipeline", "image", "--model", "nano")
    assert code == 2
    assert "bench pipeline measures the other" in err


def test_engines_build_refuses_the_video_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, "engines", "build", "--pipeline", "video", *TINY)
    assert code == 1
    assert "pipeline=video uses no engines" in err
    assert err.count("\n") == 1
