"""float8: which layers are rounded to it, by what scale, and that TensorRT gets the same."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from streamcam.engines.accuracy import MIN_PSNR, probe_inputs, psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.dtypes import FLOAT8, dtype_of, name_of
from streamcam.engines.flat_stage import FlatStage
from streamcam.engines.float8 import LARGEST, Float8Layer, round_to_float8, to_float8
from streamcam.engines.store import Store
from streamcam.engines.tensorrt import TensorRtEngine, export
from tests.engines.test_tensorrt import CPU, NANO, calls_of, flat_of, tensorrt

__all__ = ["tensorrt"]


class Wide(nn.Module):
    """A stage of layers that support float8, and of all kinds that do not."""

    supports_float8 = True

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 32, 3, padding=1)
        self.wide = nn.Conv2d(32, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.odd = nn.Conv2d(32, 40, 1)
        self.time = nn.Linear(32, 40)
        self.product = nn.Linear(64, 64)
        self.last = nn.Conv2d(40, 4, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = torch.relu(self.grouped(self.wide(self.first(x))))
        # Along the rows of an image 64 pixels wide.
        x = x + self.product(x)
        result: Tensor = self.last(self.odd(x) + self.time(time)[..., None, None])
        return result


@pytest.fixture
def wide() -> Wide:
    torch.manual_seed(0)
    return Wide().eval().requires_grad_(False)


def call(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 8, 64, generator=generator), torch.randn(2, 32, generator=generator)


def test_a_number_is_rounded_to_a_float8_value_and_saturates() -> None:
    one = torch.ones(())
    given = torch.tensor([0.0, 1.0, 1.06, 1.07, 17.0, -17.1, 448.0, 1e6, float("-inf")])
    expected = [0.0, 1.0, 1.0, 1.125, 16.0, -18.0, 448.0, 448.0, -448.0]
    assert round_to_float8(given, one).tolist() == expected
    # A power of two moves the range and nothing else.
    assert round_to_float8(given / 1024, one / 1024).tolist() == [
        value / 1024 for value in expected
    ]


def test_only_large_convolutions_and_linear_layers_are_rounded(wide: Wide) -> None:
    flat, inputs = flat_of(wide, call())
    made = to_float8(flat, inputs)
    found = {name for name, module in made.stage.named_modules() if isinstance(module, Float8Layer)}
    assert found == {"wide", "product"}
    assert not any(isinstance(module, Float8Layer) for module in wide.modules())


def test_scales_are_powers_of_two_with_room_for_all_values_measured(wide: Wide) -> None:
    flat, inputs = flat_of(wide, call())
    made = to_float8(flat, inputs)
    met = max(float(wide.first(probe_inputs(inputs, seed)[0]).abs().max()) for seed in range(1, 5))
    layer: Any = made.stage
    for scale, largest in (
        (float(layer.wide.scale), met),
        (float(layer.wide.scale_of_weight), float(wide.wide.weight.abs().max())),
    ):
        assert np.log2(scale) % 1 == 0
        assert LARGEST / 2 < largest / scale <= LARGEST


def test_it_is_as_accurate_as_three_bits_are_and_leaves_the_stage_unchanged(
    wide: Wide,
) -> None:
    flat, inputs = flat_of(wide, call())
    before = flat(*inputs)
    made = to_float8(flat, inputs)
    assert torch.equal(flat(*inputs), before)
    given = probe_inputs(inputs)
    assert MIN_PSNR[FLOAT8] < psnr(made(*given), flat(*given)) < 65


def test_a_layer_whose_input_is_all_zeros_stays_finite(wide: Wide) -> None:
    nn.init.zeros_(wide.first.weight)
    nn.init.zeros_(wide.wide.weight)
    assert wide.first.bias is not None
    nn.init.zeros_(wide.first.bias)
    flat, inputs = flat_of(wide.half(), tuple(t.half() for t in call()))
    assert torch.isfinite(to_float8(flat, inputs)(*inputs)).all()


class Exported(NamedTuple):
    flat: FlatStage
    inputs: list[Tensor]
    rounded: FlatStage
    file: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return a stage of every kind of layer, in float8 and as ONNX; nano is in test_every_dtype."""
    torch.manual_seed(0)
    flat, inputs = flat_of(Wide().eval().requires_grad_(False), call())
    made = to_float8(flat, inputs)
    file = tmp_path_factory.mktemp("float8") / "stage.onnx"
    export(made, inputs, file)
    return Exported(flat, inputs, made, file)


def test_the_export_gives_what_torch_gives_in_float8(exported: Exported) -> None:
    flat, inputs, made, file = exported
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(file), options)
    given = probe_inputs(inputs)
    [theirs] = session.run(None, {f"input_{i}": t.numpy() for i, t in enumerate(given)})
    ours, in_float32 = made(*given), flat(*given)
    # A sum in another order can fall to the other side of a step of float8.
    assert psnr(torch.from_numpy(theirs), ours) > psnr(ours, in_float32) + 6
    assert psnr(torch.from_numpy(theirs), in_float32) > MIN_PSNR[FLOAT8]


def test_every_rounded_layer_has_the_pairs_of_nodes_that_tensorrt_reads(exported: Exported) -> None:
    graph = onnx.load(exported.file).graph
    by = {name: node for node in graph.node for name in node.output}
    coded = {
        node.op_type: [by[name].op_type if name in by else "" for name in node.input[:2]]
        for node in graph.node
        if any(name in by and by[name].op_type == "DequantizeLinear" for name in node.input)
        and node.op_type != "Transpose"
    }
    # Linear layers have their weights turned around: TensorRT looks through that.
    assert coded == {
        "Conv": ["DequantizeLinear", "DequantizeLinear"],
        "MatMul": ["DequantizeLinear", "Transpose"],
    }
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    codes = [node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(codes) == 4
    assert {types[name] for name in codes} == {onnx.TensorProto.FLOAT8E4M3FN}


class Plain(Wide):
    supports_float8 = False


@pytest.mark.parametrize(
    ("kind", "near", "names"),
    [
        (Wide, True, ["float8"]),
        (Wide, False, ["float8", "float16"]),
        (Plain, True, ["float16"]),
    ],
    ids=["near enough", "too far", "another stage"],
)
def test_a_stage_without_float8_runs_in_float16(
    tensorrt: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Wide],
    near: bool,
    names: list[str],
) -> None:
    if not near:
        monkeypatch.setitem(MIN_PSNR, FLOAT8, 90.0)
    torch.manual_seed(0)
    stage = kind().eval().requires_grad_(False).half()
    lines: list[str] = []
    engines = [TensorRtEngine(CPU, FLOAT8), TensorRtEngine(CPU, torch.float16)]
    stages = EngineBuilder(engines, Store(tmp_path), lines.append, builder=None, waits=True)
    x, time = call()
    made = stages(stage)(x.half(), time.half())
    entries = {entry.manifest["identity"]["dtype"]: entry for entry in Store(tmp_path).entries()}
    assert list(entries) == names[::-1] or list(entries) == names
    runs = names[-1]
    in_float32 = flat_of(stage, (x.half(), time.half()))[0].in_float32()(x, time)
    assert (psnr(made, in_float32) < 65) is (runs == "float8")
    word = "tensorrt float8" if runs == "float8" else "tensorrt"
    assert f"the {word} engine of {kind.__name__.lower()} is ready" in lines[-1]
    if not near:
        assert any("float8 must reach 90; continuing without it" in line for line in lines)


def test_dtypes_have_the_names_of_the_settings() -> None:
    for name in ("float8", "float16", "bfloat16", "float32"):
        assert name_of(dtype_of(name)) == name


def test_only_the_unet_of_a_stream_supports_float8() -> None:
    calls = calls_of(NANO)
    engine = TensorRtEngine(CPU, FLOAT8)
    assert {name: engine.supports(flat) for name, (flat, _) in calls.items()} == {
        "encode": False,
        "denoise": True,
        "decode": False,
    }
    assert isinstance(calls["denoise"][0], FlatStage)
