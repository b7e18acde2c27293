"""The compiled engine: the same pictures as the eager one, and nothing recompiled on air."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from streamcam.engines.accuracy import MIN_PSNR, psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.compiled import CompiledEngine
from streamcam.engines.compiler_cache import keep_headers
from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.requirements import COMPILERS
from streamcam.engines.store import Store
from tests.engines.conftest import call, small
from tests.engines.one_level import one_level_model
from tests.engines.storms import SETTINGS, storm
from tests.support.streams import TINY, RecordingStream, images, moving

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="compiling needs a C++ compiler"
)
ENGINE = CompiledEngine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[FlatStage, Path]:
    """Return a small stage, and the folder of its engine, which was built with one thread."""
    folder = tmp_path_factory.mktemp("built")
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(small(), structure, [leaf is not None for leaf in signature])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            ENGINE.build(flat, [tensor.contiguous() for tensor in tensors], folder)
    finally:
        torch.set_num_threads(threads)
    return flat, folder


def test_it_gives_what_the_stage_gives_call_after_call(built: tuple[FlatStage, Path]) -> None:
    flat, folder = built
    torch._dynamo.utils.counters.clear()
    run, kept = ENGINE.load(folder), []
    for seed in range(3):
        tensors, *_ = flatten_args(call(seed=seed))
        kept.append((run(*tensors), flat(*tensors)))
    for ours, expected in kept:
        assert psnr(ours, expected) > 100
    assert not torch._dynamo.utils.counters


def test_an_engine_built_with_one_thread_runs_with_all(
    built: tuple[FlatStage, Path],
) -> None:
    _, folder = built
    with zipfile.ZipFile(folder / "engine.pt2") as package:
        code = [package.read(name) for name in package.namelist() if name.endswith(".cpp")]
    assert code
    assert not any(b"num_threads(" in source for source in code)
    assert any(b"#pragma omp parallel\n" in source for source in code)


def test_an_engine_that_shares_weights_holds_none_and_runs_on_those_of_the_stage(
    tmp_path: Path,
) -> None:
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(small(), structure, [leaf is not None for leaf in signature])
    engine = CompiledEngine(torch.device("cpu"), torch.float32, shares_weights=True)
    steps: list[str] = []
    engine.on_step = steps.append
    with torch.no_grad():
        engine.build(flat, tensors, tmp_path)
        run = engine.load_for(tmp_path, flat)
        assert psnr(run(*tensors), flat(*tensors)) > 100
        # No copies: what changes in the stage changes in the engine.
        flat.get_parameter("stage.convolution.weight").mul_(0.5)
        assert psnr(run(*tensors), flat(*tensors)) > 100
    assert steps == ["reading the model", "compiling"]
    with zipfile.ZipFile(tmp_path / "engine.pt2") as package:
        assert not any("weights" in name for name in package.namelist())


def test_many_live_changes_give_the_same_images_and_compile_nothing(
    tmp_path: Path,
) -> None:
    models = one_level_model("tiny-sd-turbo", TINY, SETTINGS)
    frames, changes = moving(24, size=32), storm()
    eager = images(RecordingStream(models, **SETTINGS)(frames, changes))

    def start(lines: list[str]) -> RecordingStream:
        stages = EngineBuilder([ENGINE], Store(tmp_path), lines.append, builder=None, waits=True)
        # The U-Net alone: it is what every live value goes through.
        assert isinstance(models.denoise, torch.nn.Module)
        return RecordingStream(models._replace(denoise=stages(models.denoise)), **SETTINGS)

    start([])(frames[:2])
    torch._dynamo.utils.counters.clear()
    second: list[str] = []
    ours = images(start(second)(frames, changes))
    assert np.abs(ours.astype(int) - eager).max() <= 1
    [line] = second
    assert "the compiled engine of denoise is ready" in line
    [entry] = Store(tmp_path).entries()
    assert entry.manifest["psnr"] >= MIN_PSNR[torch.float32]
    assert not torch._dynamo.utils.counters


def test_precompiled_headers_are_kept_in_the_cache_and_not_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import codecache

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for name in ("_HEADER_DIR", "_HEADER_LOCK_DIR"):
        monkeypatch.setattr(codecache, name, "")
    keep_headers()
    assert Path(codecache._HEADER_DIR).parent == tmp_path
    assert Path(codecache._HEADER_LOCK_DIR).is_relative_to(tmp_path)
