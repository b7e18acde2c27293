"""OpenVINO gives what the stages give, in the shapes and dtypes that were set."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from streamcam.bench import engine_comparison
from streamcam.bench.engine_comparison import measure_engines
from streamcam.diffusion.image_model import ENGINE_BUILD_MAIN, ImageModel, load_image_model
from streamcam.engines import requirements
from streamcam.engines.accuracy import psnr
from streamcam.engines.build_process import build_in_child
from streamcam.engines.dtypes import name_of
from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.placement import place
from streamcam.engines.selection import FASTEST
from streamcam.engines.store import Store
from streamcam.errors import EngineError
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.engines.conftest import Small, call
from tests.engines.storms import SETTINGS, storm
from tests.support.network import DeniedNetwork
from tests.support.streams import TINY, RecordingStream, images, moving

pytest.importorskip("openvino", reason="OpenVINO is an extra")

from streamcam.engines.openvino import CAPABILITIES, CPU, GPU, OpenVinoEngine, dtypes


def made(stage: Small, folder: Path, dtype: torch.dtype) -> tuple[OpenVinoEngine, FlatStage]:
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(stage, structure, [leaf is not None for leaf in signature])
    engine = OpenVinoEngine(CPU, dtype)
    engine.build(flat, [tensor.contiguous() for tensor in tensors], folder)
    return engine, flat


def test_it_gives_what_the_stage_gives_call_after_call(tmp_path: Path, stage: Small) -> None:
    engine, flat = made(stage, tmp_path, torch.float32)
    run, engine_dir = engine.load(tmp_path), []
    for seed in range(3):
        tensors, *_ = flatten_args(call(seed=seed))
        engine_dir.append((run(*tensors), flat(*tensors)))
    # Compared at the end: a result must outlive the calls after it.
    for ours, expected in engine_dir:
        assert psnr(ours, expected) > 100


def test_an_engine_runs_in_the_dtype_it_was_built_in(tmp_path: Path, stage: Small) -> None:
    # OpenVINO's own account: torch's is of the CPU, whatever ONEDNN_MAX_CPU_ISA says.
    if torch.bfloat16 not in dtypes(CPU):
        pytest.skip("OpenVINO does not compute in bfloat16 on this CPU")
    engine, flat = made(stage, tmp_path, torch.bfloat16)
    tensors, *_ = flatten_args(call())
    assert 30 < psnr(engine.load(tmp_path)(*tensors), flat(*tensors)) < 80


def test_an_unsupported_device_or_dtype_is_refused_with_the_supported_ones() -> None:
    with pytest.raises(EngineError, match=r"OpenVINO finds no GPU; found: CPU"):
        OpenVinoEngine(GPU, torch.float32)


@pytest.mark.parametrize("dtype", CAPABILITIES, ids=name_of)
def test_a_dtype_that_the_cpu_lacks_is_refused_with_those_it_has(
    dtype: torch.dtype,
) -> None:
    able = dtypes(CPU)
    assert torch.float32 in able
    if dtype in able:
        assert OpenVinoEngine(CPU, dtype).dtype == dtype
    else:
        with pytest.raises(EngineError) as refused:
            OpenVinoEngine(CPU, dtype)
        assert f"does not compute in {name_of(dtype)} on this CPU" in str(refused.value)
        assert f"choose --dtype {' or '.join(map(name_of, able))}" in str(refused.value)


class Built(NamedTuple):
    """What a child process that built engines left."""

    config: Config
    lines: list[str]
    attempts: Sequence[str]
    """Of it to reach the network."""


@pytest.fixture(scope="module")
def built_in_child(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the settings of a stream whose engines a child process has built."""
    folder = str(tmp_path_factory.mktemp("engines"))
    settings = {"acceleration": "openvino", "engine_dir": folder, "engine_wait": False}
    config = build_config([TINY, SETTINGS, settings])
    with pytest.MonkeyPatch.context() as monkeypatch:
        network = DeniedNetwork(tmp_path_factory.mktemp("network"), monkeypatch)
        lines = list(build_in_child(ENGINE_BUILD_MAIN, config))
        return Built(config, lines, network.attempts)


@pytest.fixture(scope="module")
def engine_dir(built_in_child: Built) -> Path:
    return Path(str(built_in_child.config.engine_dir))


@pytest.fixture(scope="module")
def accelerated(built_in_child: Built) -> tuple[ImageModel, list[str]]:
    """Return stages that load those engines when they are first called, and their lines."""
    lines: list[str] = []
    return load_image_model(built_in_child.config, lines.append), lines


def test_a_child_process_builds_the_engines_that_this_one_then_loads_and_contacts_nobody(
    built_in_child: Built, accelerated: tuple[ImageModel, list[str]]
) -> None:
    built = built_in_child.lines
    assert sum("is ready, " in line for line in built) == 3, built
    assert not built_in_child.attempts
    models, lines = accelerated
    RecordingStream(models, **SETTINGS)(moving(2, size=32))
    assert not any("building" in line for line in lines)
    assert sum("runs, " in line for line in lines) == 3


def test_many_live_changes_give_the_same_images_and_build_nothing(
    accelerated: tuple[ImageModel, list[str]], engine_dir: Path
) -> None:
    models, lines = accelerated
    frames, changes = moving(24, size=32), storm()
    eager = images(RecordingStream(**SETTINGS)(frames, changes))
    stream = RecordingStream(models, **SETTINGS)
    stream(frames[:2])
    built, lines_before = len(Store(engine_dir).entries()), list(lines)
    assert built == 3
    ours = images(stream(frames, changes))
    assert np.abs(ours.astype(int) - eager).max() <= 1
    assert len(Store(engine_dir).entries()) == built
    assert lines == lines_before


def test_engines_built_ahead_for_auto_are_measured_and_the_fastest_is_chosen(
    accelerated: tuple[ImageModel, list[str]],
    engine_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    RecordingStream(accelerated[0], **SETTINGS)(moving(2, size=32))
    engines = shutil.copytree(engine_dir, tmp_path / "engines")
    monkeypatch.setitem(FASTEST, "cpu", ("compiled", "openvino"))
    monkeypatch.setattr(requirements.shutil, "which", lambda _: None)
    monkeypatch.setattr(engine_comparison, "WARM_S", 0.0)
    settings = {"acceleration": "auto", "engine_dir": str(engines), "device": "cpu", "threads": 1}
    config = build_config([TINY, SETTINGS, settings])
    before = place(config).choice.reason
    assert before.startswith("openvino, usually the fastest here, since compiled needs")
    lines: list[str] = []
    measure_engines(config, lines.append)
    assert any(line.startswith("left out: compiled: compiled needs a C++") for line in lines)
    assert re.search(r"openvino, the fastest here, as measured: openvino \d+\.\d ms", lines[-1])
    assert len(Store(engines).entries()) == 3 + 1


def test_a_child_process_that_cannot_load_the_model_gives_the_reason(tmp_path: Path) -> None:
    config = build_config([{"model": str(tmp_path / "nothing"), "offline": True}])
    lines: list[str] = []
    with pytest.raises(EngineError, match="builds engines ended with status 1"):
        lines.extend(build_in_child(ENGINE_BUILD_MAIN, config))
    assert any("nothing" in line for line in lines), lines
