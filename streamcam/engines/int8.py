"""int8 for OpenVINO on CPUs: quantise a stage by NNCF on the model's own calls.

Weights get one scale per channel, activations one per tensor. Layers that lose too much stay in
float32, as all other operations do (Nagel et al. 2021, "A White Paper on Neural Network
Quantization", section 3).
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from streamcam.engines.accuracy import (
    AccuracyError,
    EngineRefusedError,
    check_accuracy,
    check_images,
    psnr,
)
from streamcam.engines.dtypes import INT8
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import EngineError

if TYPE_CHECKING:
    import openvino

Compile = Callable[["openvino.Model"], "openvino.CompiledModel"]
MakeRun = Callable[["openvino.CompiledModel"], FlatForward]

LAYERS_IN_FLOAT32 = (0, 4, 8, 16)
"""Sensitive layers that stay in float32, in the order in which that is tried."""
MAX_PARAMETERS = 20_000_000
"""Of a stage that takes so little time that it can be called, and images made, for every layer.

Each layer's bias is then corrected for the errors of all before it, which is worth up to 9 dB.
"""
VECTOR_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "dot", "i8mm")
"""The CPU instructions that add products of int8 without overflow, as torch calls them."""
LEVELS = 127
MIN_SPEEDUP = 1.05
"""The least worth of an int8 engine, against the same stage in float32."""
TIMED_CALLS = 9


def int8_model(
    model: Callable[[], "openvino.Model"],
    flat: FlatStage,
    compile_model: Compile,
    make_run: MakeRun,
) -> "openvino.CompiledModel":
    """Return the stage quantised to int8, with as few layers in float32 as accuracy asks for.

    Args:
        model: converts the stage; called for every attempt.
        flat: the stage, with a rehearsal.
        compile_model: compiles a model for this machine.
        make_run: returns a callable that runs a compiled model.

    Raises:
        AccuracyError: it is too far from float32, whatever is left in it.
        EngineRefusedError: it is not faster than float32.
    """
    if flat.rehearsal is None:
        raise EngineError("there are no calls of the model to calibrate int8 on")
    samples = flat.rehearsal.samples(flat.stage)
    sensitive: list[str] = []
    reason: AccuracyError | None = None
    for count in LAYERS_IN_FLOAT32:
        if count and not sensitive:
            sensitive = _by_sensitivity(flat, samples.calibration[0])
        if count > len(sensitive) // 2:
            break
        quantized = _quantized(model(), flat, samples.calibration, sensitive[:count], compile_model)
        compiled = compile_model(quantized)
        try:
            check_accuracy(make_run(compiled), flat, samples.held_out[0], INT8)
            check_images(make_run(compiled), flat)
        except AccuracyError as error:
            reason = error
            continue
        _check_speed(make_run(compiled), make_run(compile_model(model())), samples.held_out[0])
        return compiled
    raise reason or AccuracyError("it has no layers that compute in int8")


def _quantized(
    model: "openvino.Model",
    flat: FlatStage,
    calls: Sequence[Sequence[Tensor]],
    in_float32: Sequence[str],
    compile_model: Compile,
) -> "openvino.Model":
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    # Its own function for that would set the level of every handler of the process.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    overflow = OverflowFix.DISABLE if _adds_without_overflow() else OverflowFix.ENABLE
    ignored = [rf"__module\.{re.escape(name)}/.*" for name in in_float32]
    with _compiled_by(compile_model):
        quantized: openvino.Model = nncf.quantize(
            model,
            nncf.Dataset([tuple(tensor.numpy() for tensor in call) for call in calls]),
            # Activations are not symmetric about zero, weights are.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calls),
            fast_bias_correction=not _is_small(flat),
            ignored_scope=nncf.IgnoredScope(patterns=ignored, validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=overflow, activations_range_estimator_params=_whole_range()
            ),
        )
    return quantized


@contextmanager
def _compiled_by(compile_model: Compile) -> Iterator[None]:
    """Let NNCF run models as `compile_model` compiles them.

    Its own way has no settings, and OpenVINO's fused attention ends the process in float32.
    """
    from nncf.openvino import engine

    class Engine(engine.OVCompiledModelEngine):  # type: ignore[misc]
        def __init__(self, model: "openvino.Model", use_fp32_precision: bool = True) -> None:  # noqa: ARG002
            super().__init__(compile_model(model), stateful=False)

    own, engine.OVNativeEngine = engine.OVNativeEngine, Engine
    try:
        with redirect_stdout(StringIO()):  # It draws progress bars.
            yield
    finally:
        engine.OVNativeEngine = own


def _whole_range() -> object:
    """Return how NNCF is to measure activations: by the ends that any call reaches.

    By default it takes their mean over the calls, and clips the looks that go beyond: black turned
    grey in line drawings.
    """
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    return RangeEstimatorParameters(
        min=StatisticsCollectorParameters(StatisticsType.MIN, AggregatorType.MIN),
        max=StatisticsCollectorParameters(StatisticsType.MAX, AggregatorType.MAX),
    )


def _adds_without_overflow() -> bool:
    """Return whether this CPU has instructions for int8; others need weights of 7 bits."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in VECTOR_INSTRUCTIONS)


def _is_small(flat: FlatStage) -> bool:
    return sum(p.numel() for p in flat.parameters()) <= MAX_PARAMETERS


def _by_sensitivity(flat: FlatStage, call: Sequence[Tensor]) -> list[str]:
    """Return the names of the layers of `flat`, first those that int8 alone harms most.

    Judged by the images where they can be made so often: an error that is small in the output of
    the U-Net may be seen in one look and not in another.
    """
    rehearsal = flat.rehearsal
    expected = flat(*call)
    reached: dict[str, float] = {}
    for name, layer in flat.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            with _in_int8(layer):
                reached[name] = (
                    rehearsal.image_psnr(flat.stage, flat)
                    if rehearsal and _is_small(flat)
                    else psnr(flat(*call), expected)
                )
    return sorted(reached, key=lambda name: reached[name])


@contextmanager
def _in_int8(layer: nn.Conv2d | nn.Linear) -> Iterator[None]:
    """Round the input and the weights of a layer to int8 within the block."""
    original = layer.weight.data
    hook = layer.register_forward_pre_hook(lambda _, args: (_rounded(args[0]), *args[1:]))
    layer.weight.data = _rounded(original, per_channel=True)
    try:
        yield
    finally:
        hook.remove()
        layer.weight.data = original


def _rounded(x: Tensor, *, per_channel: bool = False) -> Tensor:
    largest = x.abs().flatten(1).amax(1) if per_channel else x.abs().amax()
    scale = (largest / LEVELS).clamp(min=1e-12)
    if per_channel:
        scale = scale.reshape(-1, *[1] * (x.ndim - 1))
    return torch.round(x / scale) * scale


def _check_speed(int8: FlatForward, float32: FlatForward, call: Sequence[Tensor]) -> None:
    """Raise EngineRefusedError where int8 is not worth its coarseness on this machine."""
    seconds: dict[FlatForward, list[float]] = {int8: [], float32: []}
    for _ in range(TIMED_CALLS):
        for run, taken in seconds.items():
            run(*call)  # As on air: the caches hold what this run left in them.
            # The time of this thread and its workers: others may be busy meanwhile.
            began = time.process_time()
            run(*call)
            taken.append(time.process_time() - began)
    speedup = min(seconds[float32]) / min(seconds[int8])
    if speedup < MIN_SPEEDUP:
        raise EngineRefusedError(f"{speedup:.2f} times as fast as float32, which is closer")
