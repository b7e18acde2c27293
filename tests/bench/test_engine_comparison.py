"""The comparison of engines: each has a line or a reason; no test depends on a figure."""

from pathlib import Path

import pytest
import torch

from streamcam.bench import engine_comparison, harness
from streamcam.bench.candidates import Candidate
from streamcam.bench.engine_comparison import Comparison
from streamcam.bench.harness import changed, matrix_rate
from streamcam.engines import accuracy
from streamcam.engines.dtypes import FLOAT8
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, moving

SCENE = [frame.image for frame in moving(4, size=32)]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure briefly: no test depends on a figure."""
    monkeypatch.setattr(engine_comparison, "WARM_S", 0.0)
    monkeypatch.setattr(harness, "SIDE", 128)


def test_every_candidate_has_a_line_on_the_same_weights() -> None:
    config = build_config(
        [TINY, {"width": 32, "height": 32, "dtype": "float32", "t_index_list": [32, 45]}]
    )
    comparison = Comparison(config, SCENE, rounds=2)
    comparison.restrict_to("eager")
    lines = comparison.results()
    names = [line.name for line in lines]
    assert names == [
        "diffusers' pipeline float32",
        "eager float32: bare model calls",
        "eager float32: streamcam",
        "eager float32: sequential steps",
    ]
    assert lines[0].ratios == {lines[0].name: 1}
    assert all(line.ms > 0 and line.share > 0 and line.memory >= 0 for line in lines)
    batch = lines[2]
    assert batch.latency_ms == 2 * batch.ms
    assert [line.over_bare is None for line in lines] == [True, True, False, True]
    assert batch.over_bare
    assert batch.over_bare > 0


def test_the_baseline_runs_in_float32_and_in_the_engines_dtype(tmp_path: Path) -> None:
    settings = {"width": 32, "height": 32, "dtype": "bfloat16", "engine_dir": str(tmp_path)}
    comparison = Comparison(build_config([TINY, settings]), SCENE, rounds=1)
    comparison.restrict_to("eager")
    lines = comparison.results()
    baselines = ["diffusers' pipeline float32", "diffusers' pipeline bfloat16"]
    assert [line.name for line in lines[:2]] == baselines
    assert all(list(line.ratios) == baselines for line in lines)
    assert any(line.name == "eager bfloat16: streamcam" for line in lines)


def test_a_refused_dtype_has_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accuracy.MIN_PSNR, torch.bfloat16, 150.0)
    settings = {"width": 32, "height": 32, "dtype": "bfloat16", "engine_dir": str(tmp_path)}
    comparison = Comparison(build_config([TINY, settings]), SCENE, rounds=1)
    comparison.restrict_to("eager")
    assert not any(line.name.startswith("eager bfloat16") for line in comparison.results())
    assert any("the bfloat16 of denoise is refused" in why for why in comparison.left_out)


def test_nothing_is_measured_after_the_deadline() -> None:
    config = build_config([TINY, {"width": 32, "height": 32}])
    comparison = Comparison(config, SCENE, rounds=1, deadline=0.0)
    assert comparison.results() == []
    assert "eager float32: the time was over" in comparison.left_out


def test_two_settings_are_compared_on_one_engine() -> None:
    config = build_config([TINY, {"width": 32, "height": 32}])
    comparison = Comparison(config, SCENE, rounds=1)
    ratio = comparison.speedup("eager", config, over=changed(config, use_denoising_batch=False))
    assert ratio is not None
    assert ratio > 0
    assert comparison.speeds(["eager", "tensorrt"]).keys() == {"eager"}
    assert any("tensorrt" in why for why in comparison.left_out)


def test_streams_on_engines_have_their_use_of_the_device_and_eager_as_baseline() -> None:
    config = build_config([TINY, {"width": 32, "height": 32}])
    comparison = Comparison(config, SCENE, rounds=1)

    def made() -> list[Candidate]:
        return [Candidate("other", lambda: torch.ones(1), 1, 1, torch.float32)]

    lines = comparison.streams(["eager", "tensorrt"], {"other": made})
    assert [line.name for line in lines] == ["eager", "other"]
    assert [line.ratios.keys() for line in lines] == [{"eager"}] * 2
    uses = [line.use for line in lines]
    assert uses[1] is not None
    assert uses[1].launches == 1
    assert uses[0] is not None
    assert uses[0].launches > 50
    assert any("tensorrt" in why for why in comparison.left_out)


def test_float8_that_cannot_run_is_an_error_before_anything_is_measured() -> None:
    config = build_config([TINY, {"dtype": "float8", "acceleration": "auto"}])
    with pytest.raises(EngineError, match="runs on NVIDIA GPUs, not on cpu"):
        Comparison(config, SCENE, rounds=1)


def test_an_engine_that_cannot_run_here_is_left_out_with_the_reason() -> None:
    config = build_config([TINY, {"width": 32, "height": 32, "dtype": "float32"}])
    comparison = Comparison(config, SCENE, rounds=1)
    comparison.restrict_to("tensorrt")
    assert not any("tensorrt" in line.name for line in comparison.results())
    assert any("tensorrt" in line for line in comparison.left_out)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT8])
def test_the_device_s_own_matrix_rate_is_plausible(dtype: torch.dtype) -> None:
    assert 1e6 < matrix_rate(torch.device("cpu"), dtype) < 1e16
