"""int8 on OpenVINO: quantised on the model's own calls, or refused with the reason."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.rehearsal import IMAGES, OTHER_IMAGES, StreamRehearsal
from streamcam.engines import accuracy, int8, requirements
from streamcam.engines.accuracy import psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.dtypes import INT8
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatForward, Samples
from streamcam.engines.requirements import check_int8
from streamcam.engines.selection import choose_engines
from streamcam.engines.store import Store
from streamcam.errors import EngineError
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY

pytest.importorskip("openvino", reason="OpenVINO is an extra")
pytest.importorskip("nncf", reason="NNCF is an extra")

from streamcam.engines.openvino import CPU, OpenVinoEngine


class Layers(nn.Module):
    """Three convolutions; ``(rows, 3, H, W)`` to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def call(seed: int) -> list[Tensor]:
    return [torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))]


class FakeRehearsal:
    """Noise in place of a model's calls, and an accuracy of images that is set."""

    def __init__(self, image_psnr: float = 50.0) -> None:
        self._image_psnr = image_psnr
        self.accepted: list[nn.Module] = []

    def samples(self, stage: nn.Module) -> Samples:  # noqa: ARG002
        return Samples([call(seed) for seed in range(4)], [call(seed) for seed in (8, 9)])

    def image_psnr(self, stage: nn.Module, run: FlatForward) -> float:  # noqa: ARG002
        return self._image_psnr

    def accept(self, stage: nn.Module, run: FlatForward) -> None:  # noqa: ARG002
        self.accepted.append(stage)


class JudgingRehearsal(FakeRehearsal):
    """Images are what the stage itself gives."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self._expected = stage(*call(8))

    def image_psnr(self, stage: nn.Module, run: FlatForward) -> float:  # noqa: ARG002
        return psnr(run(*call(8)), self._expected)


@pytest.fixture(scope="module")
def stage() -> Layers:
    torch.manual_seed(0)
    return Layers().eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _whatever_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on a time."""
    monkeypatch.setattr(int8, "MIN_SPEEDUP", 0.0)


def built(
    stage: nn.Module, folder: Path, rehearsal: FakeRehearsal | None
) -> tuple[Tensor, list[str]]:
    """Return what `stage` gives for a call, on the engines for int8, and the lines about them."""
    lines: list[str] = []
    engines: list[Engine] = [OpenVinoEngine(CPU, dtype) for dtype in (INT8, torch.float32)]
    builder = EngineBuilder(
        engines, Store(folder), lines.append, builder=None, waits=True, rehearsal=rehearsal
    )
    with torch.no_grad():
        return builder(stage)(*call(7)), lines


def test_a_stage_is_quantised_and_comes_near_what_it_gives_in_float32(
    stage: Layers, tmp_path: Path
) -> None:
    rehearsal = FakeRehearsal()
    output, lines = built(stage, tmp_path, rehearsal)
    assert lines[0].startswith("building the openvino int8 engine of layers")
    assert "the openvino int8 engine of layers is ready" in lines[-1]
    assert accuracy.MIN_PSNR[INT8] < psnr(output, stage(*call(7))) < 70
    assert rehearsal.accepted == [stage]
    manifest = Store(tmp_path).entries()[0].manifest
    assert manifest["identity"]["dtype"] == "int8"
    assert manifest["image_psnr"] == 50.0


@pytest.fixture
def never_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MIN_SPEEDUP", 1e9)


@pytest.fixture
def never_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accuracy.MIN_PSNR, INT8, 150.0)
    monkeypatch.setattr(int8, "LAYERS_IN_FLOAT32", (0,))


@pytest.mark.parametrize(
    ("fault", "image_psnr", "reason"),
    [
        ("never_close", 50.0, "dB against float32, where int8 must reach 150"),
        ("never_faster", 50.0, "times as fast as float32"),
        (None, 12.0, "the images come to 12.0 dB against float32, where they must reach"),
    ],
)
def test_an_engine_that_is_coarse_or_slow_is_refused_and_the_stage_runs_in_float32(
    stage: Layers,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    fault: str | None,
    image_psnr: float,
    reason: str,
) -> None:
    if fault:
        request.getfixturevalue(fault)
    rehearsal = FakeRehearsal(image_psnr)
    output, lines = built(stage, tmp_path, rehearsal)
    refusals = [line for line in lines if "is refused" in line]
    assert len(refusals) == 1
    assert refusals[0].startswith("the openvino int8 engine of layers is refused: ")
    assert reason in refusals[0]
    assert "the openvino engine of layers is ready" in lines[-1]
    assert psnr(output, stage(*call(7))) > 100
    assert rehearsal.accepted == []


def test_without_calls_of_the_model_the_stage_runs_in_float32(
    stage: Layers, tmp_path: Path
) -> None:
    output, lines = built(stage, tmp_path, None)
    assert any("no calls of the model to calibrate int8 on" in line for line in lines)
    assert psnr(output, stage(*call(7))) > 100


def test_the_layer_that_int8_harms_most_stays_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = Layers().eval().requires_grad_(False)
    # One value beyond all others leaves no levels for them: the input of the second layer.
    with torch.no_grad():
        stage.layers[0].bias[0] = 3000.0
        stage.layers[2].weight[:, 0] *= 1e-4
    attempts: list[float] = []
    original = int8.check_accuracy

    def recording(*args: object) -> float:
        try:
            reached = original(*args)  # type: ignore[arg-type]
        except EngineError:
            attempts.append(0.0)
            raise
        attempts.append(reached)
        return reached

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(int8, "check_accuracy", recording)
        monkeypatch.setattr(int8, "LAYERS_IN_FLOAT32", (0, 1))
        monkeypatch.setitem(accuracy.MIN_PSNR, INT8, 25.0)
        _, lines = built(stage, tmp_path, JudgingRehearsal(stage))
    assert len(attempts) == 2
    assert attempts[0] < 25 < attempts[1]
    assert "the openvino int8 engine of layers is ready" in lines[-1]


@pytest.mark.parametrize(
    ("acceleration", "device", "missing", "remedy"),
    [
        (
            "compiled",
            "cpu",
            "",
            "compiled does not compute in int8; choose --acceleration openvino",
        ),
        ("auto", "cuda", "", "int8 is for CPUs, not for cuda; choose --device cpu"),
        ("auto", "cpu", "nncf", r'int8 needs nncf, .* pip install "streamcam\[openvino\]"'),
        ("auto", "cpu", "openvino", r"openvino is not installed"),
    ],
)
def test_where_int8_cannot_run_the_reason_and_the_remedy_are_said(
    monkeypatch: pytest.MonkeyPatch, acceleration: str, device: str, missing: str, remedy: str
) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(EngineError, match=remedy):
        check_int8(acceleration, device)


def test_auto_and_openvino_take_int8_with_float32_behind_it() -> None:
    for acceleration in ("auto", "openvino"):
        choice = choose_engines(acceleration, torch.device("cpu"), INT8)
        assert [engine.dtype for engine in choice.engines] == [INT8, torch.float32]


@pytest.fixture(scope="module")
def rehearsal() -> StreamRehearsal:
    config = build_config([TINY, {"width": 32, "height": 32, "device": "cpu", "dtype": "float32"}])
    made: list[StreamRehearsal] = []

    def rehearse(*args: object) -> StreamRehearsal:
        made.append(StreamRehearsal(*args))  # type: ignore[arg-type]
        return made[0]

    load_image_model(config.model_copy(update={"acceleration": "eager"}), str, rehearse=rehearse)
    return made[0]


def test_a_rehearsal_has_the_calls_of_every_stage_and_others_to_judge_by(
    rehearsal: StreamRehearsal,
) -> None:
    model = rehearsal.model
    for stage in (model.encode, model.denoise, model.decode):
        calibration, held_out = rehearsal.samples(stage)
        shapes = {tuple(tensor.shape for tensor in each) for each in (*calibration, *held_out)}
        assert len(shapes) == 1
        assert (len(calibration) == IMAGES) or stage is not model.encode
        assert len(held_out) <= OTHER_IMAGES
        known = [each[0] for each in calibration]
        assert not any(torch.equal(each[0], k) for each in held_out for k in known)


def test_images_are_judged_with_all_stages_that_were_accepted(rehearsal: StreamRehearsal) -> None:
    model = rehearsal.model

    def exactly(*tensors: Tensor) -> Tensor:
        return model.decode(*tensors)

    def coarsely(*tensors: Tensor) -> Tensor:
        return model.encode(tensors[0], None) * 1.02

    assert rehearsal.image_psnr(model.decode, exactly) == 200
    coarse = rehearsal.image_psnr(model.encode, coarsely)
    assert coarse < 100
    rehearsal.accept(model.encode, coarsely)
    assert rehearsal.image_psnr(model.decode, exactly) == pytest.approx(coarse)
