"""TensorRT as far as no GPU is needed: the export, and every call of its Python API.

The stages go out as ONNX, which onnxruntime runs, whole models in test_every_dtype; the rest runs
against a fake that holds to the signatures of the real module.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines import tensor_alignment
from streamcam.engines.accuracy import psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.store import Store
from streamcam.engines.tensorrt import TensorRtEngine
from streamcam.engines.tensorrt_library import TENSORRT, TENSORRT_RTX, logger_of
from streamcam.engines.tensorrt_plan import PlanRequest, builder_config, timings_file
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from tests.engines import fake_tensorrt, fake_tensorrt_rtx
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


@contextmanager
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a CPU play a GPU, on which the fakes run instead of the real modules."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt_rtx)
    monkeypatch.setattr(fake_tensorrt, "registered", [])
    monkeypatch.setattr(fake_tensorrt_rtx, "compiled", [])
    logger_of.cache_clear()
    stream = SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    yield
    logger_of.cache_clear()


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the fake of TensorRT, in the real module's place."""
    with fakes(monkeypatch):
        yield fake_tensorrt


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the fake of TensorRT for RTX, in the real module's place."""
    with fakes(monkeypatch):
        yield fake_tensorrt_rtx


def test_it_gives_what_the_stage_gives_call_after_call(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    (tmp_path / "engine").mkdir()
    engine.build(flat, inputs, tmp_path / "engine")
    # What it was made from is gone; the times of kernels stay, next to the engines.
    assert [file.name for file in (tmp_path / "engine").iterdir()] == ["engine.plan"]
    [timings] = [file.name for file in tmp_path.iterdir() if file.is_file()]
    assert timings.startswith("timings-")
    run, results = engine.load(tmp_path / "engine"), []
    for seed in range(3):
        flat_again, tensors = flat_of(stage, call(seed=seed))
        results.append((run(*tensors), flat_again(*tensors)))
    # Compared at the end: a result must outlive the calls after it.
    for ours, expected in results:
        assert psnr(ours, expected) > 100
    assert run._context.streams == [STREAM] * 3  # type: ignore[attr-defined]


def test_its_inputs_lie_where_kernels_expect_them(
    tensorrt: Any, tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tensor_alignment.ALIGNMENTS, "cpu", 32)
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    engine.build(flat, inputs, tmp_path)
    run, (first, *rest) = engine.load(tmp_path), inputs
    # Behind one number, as a row of a larger tensor may be.
    moved = torch.cat([torch.zeros(1), first.flatten()])[1:].view_as(first)
    assert moved.data_ptr() % 32
    assert psnr(run(moved, *rest), flat(first, *rest)) > 100
    addresses = run._context._addresses  # type: ignore[attr-defined]
    assert addresses["input_0"] != moved.data_ptr()
    assert [address % 32 for address in addresses.values()] == [0] * len(addresses)


def test_float32_is_not_computed_in_tf32(tensorrt: Any, tmp_path: Path, stage: Small) -> None:
    flat, inputs = flat_of(stage, call())
    TensorRtEngine(CPU, torch.float32).build(flat, inputs, tmp_path)
    assert not tensorrt.Builder.last.flags
    TensorRtEngine(CPU, torch.float16).build(flat, inputs, tmp_path)
    assert tensorrt.Builder.last.flags == {tensorrt.BuilderFlag.TF32}


def test_all_kernels_are_for_one_stream_and_tuning_searches_longer(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    engine.build(flat, inputs, tmp_path)
    assert tensorrt.Builder.last.max_aux_streams == 0
    assert tensorrt.Builder.last.builder_optimization_level == 3
    engine.build_tuned(flat, inputs, tmp_path)
    assert tensorrt.Builder.last.builder_optimization_level == 5


def test_a_build_leaves_half_of_the_free_memory_to_the_stream(
    tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 << 30, 8 << 30))
    request = PlanRequest(Path(), torch.float16, torch.device("cuda"), tuned=False, timings=None)
    config = builder_config(TENSORRT, tensorrt.Builder(logger_of(TENSORRT)), request)
    assert set(config.limits.values()) == {3 << 30}
    assert set(config.limits) == set(tensorrt.MemoryPoolType)


def test_a_kernel_is_timed_once_for_all_engines_of_a_machine(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    engine.build(flat, inputs, tmp_path / "first")
    assert tensorrt.Builder.timed
    engine.build(flat, inputs, tmp_path / "second")
    assert not tensorrt.Builder.timed
    # Another driver or card under the same name: the library refuses the times.
    [file] = tmp_path.glob("timings-*.cache")
    file.write_bytes(b"other-machine")
    engine.build(flat, inputs, tmp_path / "second")
    assert tensorrt.Builder.timed
    assert b"other-machine" not in file.read_bytes()


def test_timings_that_cannot_be_stored_cost_no_engine(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    timings_file(tmp_path, engine.fingerprint()).mkdir()
    (tmp_path / "engine").mkdir()
    engine.build(flat, inputs, tmp_path / "engine")
    assert engine.load(tmp_path / "engine") is not None


def test_its_progress_grows_from_step_to_step(tensorrt: Any, tmp_path: Path, stage: Small) -> None:
    flat, inputs = flat_of(stage, call())
    engine, steps = TensorRtEngine(CPU, torch.float32), list[str]()
    engine.on_step = steps.append
    engine.build(flat, inputs, tmp_path)
    assert steps[0] == "reading the model"
    shares = [int(step.removeprefix("choosing kernels, ").rstrip("%")) for step in steps[1:]]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 50)


def test_an_interruption_passes_through_no_native_code(
    tensorrt: Any, tmp_path: Path, stage: Small
) -> None:
    def interrupt(words: str) -> None:
        if "choosing" in words:
            raise KeyboardInterrupt

    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32)
    engine.on_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.build(flat, inputs, tmp_path)
    assert not (tmp_path / "engine.plan").exists()


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


def test_tensorrt_for_rtx_stores_the_kernels_that_it_compiles_for_each_driver(
    rtx: Any, tmp_path: Path, stage: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, inputs = flat_of(stage, call())
    engine = TensorRtEngine(CPU, torch.float32, TENSORRT_RTX)
    engine.build(flat, inputs, tmp_path)
    # What a call allocates could not be recorded.
    assert rtx.BuilderFlag.REQUIRE_USER_ALLOCATION in rtx.Builder.last.flags
    assert engine.fingerprint()["tensorrt_rtx"] == rtx.__version__
    for version in ("580", "590", "580", "590"):
        monkeypatch.setattr(rtx, "driver", version)
        assert psnr(engine.load(tmp_path)(*inputs), flat(*inputs)) > 100
    assert rtx.compiled == ["580", "590"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "engine.plan",
        "kernels-0.cache",
        "kernels-1.cache",
    ]


def test_tensorrt_for_rtx_refuses_a_card_that_it_does_not_know(
    rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    card = torch.device("cuda")
    with pytest.raises(
        EngineError, match=r"not made for NVIDIA H100 \(.* 9\.0, .* 7\.5, 8\.9, 12\.0"
    ):
        TensorRtEngine(card, torch.float16, TENSORRT_RTX)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (12, 0))
    TensorRtEngine(card, torch.float16, TENSORRT_RTX)


FAKES = [(real, fake_tensorrt) for real in REAL]
FAKES += [(real, fake_tensorrt_rtx) for real in REAL if real == "tensorrt_rtx"]


@pytest.mark.skipif(not REAL, reason="TensorRT is an extra, for NVIDIA GPUs")
@pytest.mark.parametrize(("real_name", "fake_module"), FAKES)
def test_the_fakes_have_only_names_and_arguments_of_the_real_modules(
    real_name: str, fake_module: Any
) -> None:
    tensorrt = importlib.import_module(real_name)
    for name, fake in inspect.getmembers(fake_module, inspect.isclass):
        if fake.__module__ != fake_module.__name__ or name == "Severity":
            continue
        real = getattr(tensorrt, name)
        public = [key for key in vars(fake) if not key.startswith("_") and key not in OWN]
        assert all(hasattr(real, key) for key in public), name
        for key in public:
            if inspect.isfunction(vars(fake)[key]):
                arguments = list(inspect.signature(vars(fake)[key]).parameters)[1:]
                doc = getattr(real, key).__doc__
                assert all(f"{argument}: " in doc for argument in arguments), (name, key, doc)


OWN = ("model", "last", "timed", "streams", "engine")
"""Names that the fake has for the tests alone."""
