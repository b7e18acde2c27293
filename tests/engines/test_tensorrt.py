"""TensorRT as far as no GPU is needed: the export, and every call of its Python API.

The stages go out as ONNX, which onnxruntime runs, whole models in test_every_dtype; the rest runs
against a fake that holds to the signatures of the real module.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines import tensorrt as module
from streamcam.engines.accuracy import psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.store import Store
from streamcam.engines.tensorrt import TensorRtEngine
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from tests.engines import fake_tensorrt
from tests.engines.conftest import Small, call
from tests.support.streams import EAGER, TINY

REAL = [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name)]
"""The second one has the same Python API, and can be inspected without a GPU."""
CPU = torch.device("cpu")
STREAM = 7
STAGES = ("encode", "denoise", "decode")


def flat_of(stage: nn.Module, args: tuple[Any, ...]) -> tuple[FlatStage, list[Tensor]]:
    tensors, signature, structure = flatten_args(args)
    flat = FlatStage(stage, structure, [leaf is not None for leaf in signature])
    with torch.inference_mode(False):
        return flat, [t.clone(memory_format=torch.contiguous_format) for t in tensors]


def calls_of(
    settings: dict[str, Any], models: ImageModel | None = None
) -> dict[str, tuple[FlatStage, list[Tensor]]]:
    """Return every stage of a stream, with its inputs."""
    config = build_config([settings, {"warmup": 1}])
    models = models or load_image_model(config, lambda _: None)
    found: dict[str, tuple[FlatStage, list[Tensor]]] = {}

    def recorded(name: str) -> Any:
        stage: Any = getattr(models, name)

        def run(*args: Any) -> Tensor:
            found.setdefault(name, flat_of(getattr(stage, "stage", stage), args))
            result: Tensor = stage(*args)
            return result

        return run

    watched: ImageModel = models._replace(**{name: recorded(name) for name in STAGES})
    DiffusionStream(watched, config).warm_up()
    return found


NANO = {"model": "nano", "offline": True, "width": 64, "height": 64} | EAGER
SDXL = TINY | {"model": "random:tiny-sdxl-turbo", "t_index_list": [20, 30], "cfg_type": "self"}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the fake in the real module's place, on a CPU that plays a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(fake_tensorrt, "registered", [])
    module._logger.cache_clear()
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    stream = SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    yield fake_tensorrt
    module._logger.cache_clear()


def test_it_gives_what_the_stage_gives_call_after_call(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    (tmp_path / "engine").mkdir()
    engine.build(flat, inputs, tmp_path / "engine")
    # What it was made from is gone.
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["engine.plan"]
    run, results = engine.load(tmp_path / "engine"), []
    for seed in range(3):
        flat_again, tensors = flat_of(stage, call(seed=seed))
        results.append((run(*tensors), flat_again(*tensors)))
    # Compared at the end: a result must outlive the calls after it.
    for ours, expected in results:
        assert psnr(ours, expected) > 100
    assert run._context.streams == [STREAM] * 3  # type: ignore[attr-defined]


def test_float32_is_not_computed_in_tf32(tensorrt: Any, tmp_path: Path, stage: Small) -> None:
    flat, inputs = flat_of(stage, call())
    TensorRtEngine(CPU, torch.float32).build(flat, inputs, tmp_path)
    assert not tensorrt.Builder.tf32


def test_a_stage_in_float16_is_built_and_run_in_it(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    x, timesteps, conditioning = call()
    given = (x.half(), timesteps, conditioning._replace(states=conditioning.states.half()))
    flat, inputs = flat_of(stage.half(), given)
    engine = TensorRtEngine(CPU, torch.float16)
    engine.build(flat, inputs, tmp_path)
    made = engine.load(tmp_path)(*inputs)
    assert made.dtype == flat(*inputs).dtype
    assert psnr(made, flat.in_float32()(*(t.float() for t in inputs))) > 45
    # Strongly typed: what the file says is what TensorRT computes in.
    plan = onnx.load_model_from_string((tmp_path / "engine.plan").read_bytes())
    weight = next(t for t in plan.graph.initializer if t.name.endswith("convolution.weight"))
    assert weight.data_type == onnx.TensorProto.FLOAT16


def test_it_is_stored_like_any_engine_with_its_version(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    lines: list[str] = []
    engine = TensorRtEngine(CPU, torch.float32)
    stages = EngineBuilder([engine], Store(tmp_path), lines.append, builder=None, waits=True)
    torch.testing.assert_close(stages(stage)(*call()), stage(*call()))
    [entry] = Store(tmp_path).entries()
    assert entry.manifest["identity"]["engine"] == "tensorrt"
    assert entry.manifest["identity"]["machine"]["tensorrt"] == tensorrt.__version__
    assert "device" in entry.manifest["identity"]["machine"]
    assert "the tensorrt engine of small is ready" in lines[-1]


class UnsupportedStage(nn.Module):
    """A stage with an operation that the fake does not parse, or does not build."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "unread":
            return x + torch.nonzero(x).sum()
        return torch.linalg.det(x)


def test_later_errors_are_reported_too(tensorrt: Any, tmp_path: Path, stage: Small) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    engine.build(flat, inputs, tmp_path)
    run = engine.load(tmp_path)
    unbuilt = flat_of(UnsupportedStage("unbuilt"), (torch.ones(1, 2, 4, 4),))
    with pytest.raises(EngineError, match="no kernel for Det"):
        engine.build(*unbuilt, tmp_path)
    (tmp_path / "engine.plan").write_bytes(b"not a plan")
    with pytest.raises(EngineError, match="Serialization assertion"):
        engine.load(tmp_path)
    assert run is not None


@pytest.mark.parametrize(
    ("kind", "words"),
    [("unread", "cannot read the stage: NonZero: false"), ("unbuilt", "no kernel for")],
)
def test_a_stage_that_tensorrt_refuses_is_reported_with_its_own_message(
    tensorrt: Any, tmp_path: Path, kind: str, words: str
) -> None:
    flat, inputs = flat_of(UnsupportedStage(kind), (torch.ones(1, 2, 4, 4),))
    with pytest.raises(EngineError, match=words):
        TensorRtEngine(CPU, torch.float32).build(flat, inputs, tmp_path)


def test_a_plan_that_does_not_run_is_an_error(
    tensorrt: Any, tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    engine.build(flat, inputs, tmp_path)
    run = engine.load(tmp_path)
    lost = SimpleNamespace(cuda_stream=-1)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: lost)
    with pytest.raises(EngineError, match="cannot run its plan: it gives no reason"):
        run(*inputs)


def test_a_plan_of_another_version_is_refused_with_its_own_message(
    tensorrt: Any, tmp_path: Path
) -> None:
    (tmp_path / "engine.plan").write_bytes(b"not a plan")
    with pytest.raises(EngineError, match="cannot load its plan: Serialization assertion"):
        TensorRtEngine(CPU, torch.float32).load(tmp_path)


@pytest.mark.skipif(not REAL, reason="TensorRT is an extra, for NVIDIA GPUs")
def test_the_fake_has_only_names_and_arguments_of_the_real_module() -> None:
    tensorrt = importlib.import_module(REAL[0])
    for name, fake in inspect.getmembers(fake_tensorrt, inspect.isclass):
        if fake.__module__ != fake_tensorrt.__name__ or name == "Severity":
            continue
        real = getattr(tensorrt, name)
        public = [key for key in vars(fake) if not key.startswith("_") and key not in OWN]
        assert all(hasattr(real, key) for key in public), name
        for key in public:
            if inspect.isfunction(vars(fake)[key]):
                arguments = list(inspect.signature(vars(fake)[key]).parameters)[1:]
                doc = getattr(real, key).__doc__
                assert all(f"{argument}: " in doc for argument in arguments), (name, key, doc)


OWN = ("model", "tf32", "streams")
"""Names that the fake has for the tests alone."""
