"""The choice of engines has a reason, and an engine that cannot run an error with the remedy."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from streamcam.bench.harness import changed
from streamcam.engines import requirements
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.placement import place, timings_key
from streamcam.engines.selection import choose_engines, computes_in_bfloat16
from streamcam.engines.store import Store
from streamcam.engines.timings import save_timings
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from tests.engines import fake_tensorrt_rtx
from tests.support.streams import TINY

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:1"), torch.device("mps")


def without(
    monkeypatch: pytest.MonkeyPatch, *, openvino: bool = False, compiler: bool = False
) -> None:
    if openvino:
        monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    if compiler:
        monkeypatch.setattr(requirements.shutil, "which", lambda _: None)


def test_auto_takes_openvino_where_it_is_installed() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    chosen = choose_engines("auto", CPU, torch.float32)
    assert [engine.name for engine in chosen.engines] == ["openvino"]
    assert chosen.reason == "openvino, usually the fastest here"


def test_auto_takes_the_fastest_measured_engine_and_reports_the_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name: name)
    speeds = {"openvino": 27.7, "compiled": 24.2}
    chosen = choose_engines("auto", CPU, torch.float32, speeds)
    assert [engine.name for engine in chosen.engines] == ["compiled"]
    timings = "compiled 24.2 ms, openvino 27.7 ms"
    assert chosen.reason == f"compiled, the fastest here, as measured: {timings}"


def test_measured_times_are_stored_for_these_settings_only(tmp_path: Path) -> None:
    config = build_config(
        [TINY, {"acceleration": "auto", "engine_dir": str(tmp_path), "device": "cpu"}]
    )
    at = timings_key(config, CPU, torch.float32)
    save_timings(Store(tmp_path), at, {"compiled": 1.25, "openvino": 2.0})
    monitored = place(config).choice.reason
    assert ("compiled 1.2 ms" in monitored) or ("needs a C++ compiler" in monitored)
    other = changed(config, width=128)
    assert "measured" not in place(other).choice.reason
    prompt = {"prompt": "another", "seed": 9}
    assert timings_key(build_config([TINY, prompt]), CPU, torch.float32) == at


def test_auto_gives_the_reason_for_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        choose_engines("auto", MPS, torch.float16).reason
        == "eager, since there are no engines for mps, and graph needs an NVIDIA GPU"
    )
    without(monkeypatch, openvino=True, compiler=True)
    cpu, gpu = (
        choose_engines("auto", CPU, torch.float32),
        choose_engines("auto", CUDA, torch.float16),
    )
    assert (cpu.engines, gpu.engines) == ((), ())
    assert (cpu.name, gpu.name) == ("eager", "graph")
    assert gpu.reason.startswith("graph, usually the fastest here, since")
    assert 'run pip install "streamcam[openvino]"' in cpu.reason
    assert "needs a C++ compiler" in cpu.reason
    assert "needs a C++ compiler" in gpu.reason


def test_frames_are_recorded_as_graphs_on_an_nvidia_gpu_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name: name)
    installed(monkeypatch)
    for acceleration in ("graph", "compiled", "auto"):
        assert choose_engines(acceleration, CUDA, torch.float16).graphs
    assert not choose_engines("eager", CUDA, torch.float16).graphs
    assert not choose_engines("compiled", CPU, torch.float32).graphs
    for device in (CPU, MPS, torch.device("xpu")):
        with pytest.raises(EngineError, match=rf"not {device.type}; choose --acceleration eager"):
            choose_engines("graph", device, torch.float16)
    monkeypatch.setattr(torch.version, "hip", "7.1")
    with pytest.raises(EngineError, match="for NVIDIA GPUs, not rocm"):
        choose_engines("graph", CUDA, torch.float16)
    assert not choose_engines("auto", CUDA, torch.float16).graphs


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: name in names or None)


def test_auto_on_a_gpu_takes_tensorrt_where_it_is_installed_else_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name: name)
    installed(monkeypatch, "tensorrt", "onnx", "onnxscript")
    assert (
        choose_engines("auto", CUDA, torch.float16).reason == "tensorrt, usually the fastest here"
    )
    installed(monkeypatch, "onnx")
    without = choose_engines("auto", CUDA, torch.float16)
    assert [engine.name for engine in without.engines] == ["compiled"]
    assert without.reason == (
        "compiled, usually the fastest here, since tensorrt is not installed; run pip install"
        ' "streamcam[tensorrt]"'
    )


def test_auto_takes_tensorrt_for_rtx_where_it_alone_is_installed_and_knows_the_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name: name)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt_rtx)
    installed(monkeypatch, "tensorrt_rtx", "onnx", "onnxscript")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "the card")
    for capability, name in (((8, 9), "tensorrt-rtx"), ((9, 0), "compiled")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert choose_engines("auto", CUDA, torch.float16).name == name
    assert "RTX is not made for the card" in choose_engines("auto", CUDA, torch.float16).reason
    with pytest.raises(EngineError, match="not made for the card"):
        choose_engines("tensorrt-rtx", CUDA, torch.float16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (12, 0))
    assert choose_engines("auto", CUDA, FLOAT8).name == "tensorrt-rtx"


def test_an_engine_that_cannot_run_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EngineError, match="not on mps; choose --acceleration eager"):
        choose_engines("compiled", MPS, torch.float16)
    without(monkeypatch, openvino=True, compiler=True)
    with pytest.raises(EngineError, match="openvino is not installed; run pip install"):
        choose_engines("openvino", CPU, torch.float32)
    with pytest.raises(EngineError, match=r"tensorrt is not installed; .*streamcam\[tensorrt\]"):
        choose_engines("tensorrt", CUDA, torch.float16)
    with pytest.raises(EngineError, match="NVIDIA GPUs, not on cpu; choose --device cuda"):
        choose_engines("tensorrt", CPU, torch.float32)
    with pytest.raises(EngineError, match=r"needs a C\+\+ compiler .* --acceleration eager"):
        choose_engines("compiled", CPU, torch.float32)


def test_float8_runs_on_tensorrt_and_the_rest_in_float16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, "tensorrt", "onnx", "onnxscript")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    for acceleration in ("auto", "tensorrt"):
        chosen = choose_engines(acceleration, CUDA, FLOAT8)
        assert [(engine.name, engine.dtype) for engine in chosen.engines] == [
            ("tensorrt", FLOAT8),
            ("tensorrt", torch.float16),
        ]
        assert {engine.weights_dtype for engine in chosen.engines} == {torch.float16}
        assert chosen.reason == "tensorrt, which computes in it; the rest as float16"


def test_float8_that_cannot_run_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EngineError, match=r"eager does not compute in float8; .* tensorrt"):
        choose_engines("eager", CUDA, FLOAT8)
    with pytest.raises(EngineError, match="not on cpu; choose --device cuda"):
        choose_engines("auto", CPU, FLOAT8)
    installed(monkeypatch, "tensorrt", "onnx", "onnxscript")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "RTX 3090")
    with pytest.raises(EngineError, match=r"RTX 3090 does not .* 8\.6, where 8\.9 .* float16"):
        choose_engines("tensorrt", CUDA, FLOAT8)


def test_eager_has_its_weights_in_the_dtype_it_computes_in() -> None:
    placement = place(
        build_config([{"acceleration": "eager", "dtype": "bfloat16", "device": "cpu"}])
    )
    assert placement.weights_dtype == torch.bfloat16
    assert str(placement) == "running on cpu in bfloat16: eager"


@pytest.mark.parametrize(
    ("able", "library", "native"),
    [
        ({"avx512_bf16": True}, True, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True, True),
        ({"bf16": True, "architecture": "aarch64"}, True, True),
        ({"bf16": True, "architecture": "arm64"}, False, False),
        ({"avx512_f": True, "avx512_bf16": False}, True, False),
        ({}, True, False),
    ],
)
def test_bfloat16_needs_a_cpu_that_has_it_and_a_torch_that_uses_it(
    monkeypatch: pytest.MonkeyPatch, able: Mapping[str, object], library: bool, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(able))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: library)
    assert computes_in_bfloat16() is native
    placement = place(build_config([{"acceleration": "eager", "device": "cpu"}]))
    assert placement.dtype == (torch.bfloat16 if native else torch.float32)
