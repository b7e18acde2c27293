"""Right answers: every engine against float32, and the process after captures that failed."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from streamcam.bench.harness import changed, iter_frames, no_report
from streamcam.cli.bench_options import moving_scene
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.accuracy import psnr
from streamcam.engines.cuda_graph import CudaCapture
from streamcam.engines.device_tuning import exact_float32
from streamcam.errors import EngineError, StreamcamError, one_line
from streamcam.settings.config import Config
from streamcam.types import Image

FRAMES = 8
MIN_DB = 30.0
"""The least PSNR of whole images: of 256 levels, and after every stage's own error."""


def answers(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield how near each stage and each engine come to float32.

    Raises:
        EngineError: one is too far from it, or the process is unsound after a failed capture.
    """
    config, far = check.config(), []
    scene = moving_scene(config)
    models = load_image_model(config, no_report, builds_here=True)
    exact = _images(in_float32(models), config, scene)
    yield Reading("stages against float32", _stage_accuracy(models, config, scene))
    for name in check.ready_engines:
        try:
            own = changed(config, acceleration=name)
            loaded = load_image_model(own, no_report, builds_here=True)
        except StreamcamError as error:
            yield LeftOut(f"{name}: {error}")
            continue
        reached = psnr(_images(loaded, own, scene), exact)
        yield Reading(f"{name} against float32", {"dB of whole images": reached})
        if reached < MIN_DB:
            far.append(f"{name} reaches {reached:.1f} dB, where {MIN_DB:.0f} are asked for")
    yield from failed_captures(models.device)
    if far:
        raise EngineError("; ".join(far))


def in_float32(models: ImageModel) -> ImageModel:
    """Return `models` with copies of its stages in float32."""
    return models._replace(
        encode=_stage_in_float32(models.encode),
        denoise=_stage_in_float32(models.denoise),
        decode=_stage_in_float32(models.decode),
    )


def _stage_in_float32(stage: Any) -> Callable[..., Tensor]:
    module: nn.Module = getattr(stage, "stage", stage)
    with torch.inference_mode(False), torch.no_grad():
        exact = copy.deepcopy(module).float()

    def widened(value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.float() if is_float else value

    def call(*inputs: Any) -> Tensor:
        with exact_float32():
            result: Tensor = exact(*tree_map(widened, inputs))
        return result

    return call


@torch.inference_mode()
def _images(models: ImageModel, config: Config, scene: Sequence[Image]) -> Tensor:
    """Return the outputs of the stream, ``(FRAMES, H, W, 3)`` from 0 to 255."""
    stream, frames = DiffusionStream(models, config), iter_frames(scene)
    outputs = [out for _ in range(FRAMES) for out in stream(next(frames), config.live)]
    return torch.stack([torch.from_numpy(out.image.copy()) for out in outputs]).float()


@torch.inference_mode()
def _stage_accuracy(
    models: ImageModel, config: Config, scene: Sequence[Image]
) -> dict[str, float | str]:
    """Return the PSNR of each stage in dB, on the inputs that a stream gives it."""
    reached: dict[str, float | str] = {}

    def compared(name: str, stage: Any) -> Callable[..., Tensor]:
        exact = _stage_in_float32(stage)

        def call(*inputs: Any) -> Tensor:
            output: Tensor = stage(*inputs)
            reached[f"{name}, dB"] = psnr(output, exact(*inputs))
            return output

        return call

    _images(
        models._replace(
            encode=compared("encode", models.encode),
            denoise=compared("denoise", models.denoise),
            decode=compared("decode", models.decode),
        ),
        config,
        scene,
    )
    return reached


def failed_captures(device: torch.device) -> Iterator[Record]:
    """Yield whether the process is sound after captures that failed in the middle.

    Raises:
        EngineError: it is not.
    """
    if device.type != "cuda":
        yield LeftOut("failed captures: they need an NVIDIA GPU")
        return
    capture, x = CudaCapture(device), torch.ones(64, device=device)

    def synchronizes() -> None:
        (x * 2).sum().item()

    def raises() -> None:
        torch.randn(64, device=device).add_(x)
        raise EngineError("as this is a test")

    for name, call in (("a synchronisation", synchronizes), ("an error", raises)):
        try:
            capture(call)
        except (RuntimeError, EngineError) as error:
            why = one_line(error)
        else:
            raise EngineError(f"{name} in a capture went unnoticed")
        _check_sound(capture, x, name)
        yield Reading(f"after {name} in a capture", {"sound": "yes", "it raised": why[:60]})


def _check_sound(capture: CudaCapture, x: Tensor, after: str) -> None:
    """Raise EngineError if random numbers, memory or the next capture are wrong."""
    first, second = (torch.randn(64, device=x.device) for _ in range(2))
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise EngineError(f"after {after} in a capture random numbers are not finite")
    if torch.equal(first, second):
        raise EngineError(f"after {after} in a capture random numbers repeat")
    result = torch.zeros_like(x)
    torch.cuda.empty_cache()

    def triples() -> None:
        result.copy_(x * 3)

    triples()  # What is recorded has run before, as on air.
    replay = capture(triples)
    result.zero_()
    replay()
    torch.cuda.synchronize(x.device)
    if not torch.equal(result, x * 3):
        raise EngineError(f"after {after} in a capture the next one is wrong")
