"""Transfer to a GPU, run on the CPU: its results, its waits and its memory.

Only `CudaCopyStreams` needs a GPU: see `tests/diffusion/test_cuda.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.diffusion.similarity import METRICS
from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import EngineError
from streamcam.frames import frame_transfer
from streamcam.frames.cpu_transfer import CpuTransfer
from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.frames.image_tensors import fitted_lanczos
from streamcam.frames.transfer import FrameTransfer
from streamcam.pixels import FORMATS, fitted
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame, Image
from tests.diffusion.test_stream import SIZE, stand_in
from tests.support.synchronous_copies import SynchronousCopyStreams

CPU = torch.device("cpu")


class LateDownloads(SynchronousCopyStreams):
    """Downloads only when waited for, as late as a device ever may."""

    def __init__(self) -> None:
        self.waits = self.synchronized = 0

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        def wait() -> None:
            self.waits += 1
            copy()

        return wait

    def synchronize(self) -> None:
        self.synchronized += 1


def config_of(**settings: Any) -> Config:
    return build_config([{"width": SIZE, "height": SIZE, **settings}])


def cuda_transfer(config: Config, *, on_air: bool = False) -> CudaTransfer:
    return CudaTransfer(config, CPU, LateDownloads(), output_format(config, on_air=on_air))


def noise(count: int, height: int = SIZE, width: int = SIZE) -> list[Image]:
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def batch_of(transfer: FrameTransfer, images: list[Image], count: int = 0) -> torch.Tensor:
    """Return the batch of `images`, the last one repeated where there are fewer than `count`."""
    for image in images:
        transfer.upload(transfer.prepare(image))
    return transfer.batch(count or len(images))


def test_each_device_has_its_transfer() -> None:
    config = config_of()
    assert isinstance(frame_transfer(config, CPU), CpuTransfer)
    assert isinstance(frame_transfer(config, torch.device("mps")), CpuTransfer)


@torch.inference_mode()
def test_frames_of_the_models_size_make_the_round_trip_exactly() -> None:
    config = config_of(frame_buffer_size=3)
    on_gpu, on_cpu = cuda_transfer(config), CpuTransfer(config, CPU)
    for given in (noise(3), noise(2), [np.arange(768, dtype=np.uint8).reshape(SIZE, SIZE, 3)] * 3):
        batch = batch_of(on_gpu, given, 3)
        assert (batch == batch_of(on_cpu, given, 3)).all()
        downloaded, wait = on_gpu.download(batch)
        wait()
        assert all((d.image == g).all() for d, g in zip(downloaded, given, strict=False))


@pytest.mark.parametrize("fit", ["fill", "fit", "stretch"])
@torch.inference_mode()
def test_frames_of_any_size_are_resized_as_by_pillow(fit: str) -> None:
    config = config_of(fit=fit)
    transfer = cuda_transfer(config)
    for size in ((80, 160), (40, 20), (8, 16), (80, 160)):
        for image in noise(2, *size):
            levels = (
                batch_of(transfer, [image])[0].add(1).mul(127.5).round().permute(1, 2, 0).numpy()
            )
            assert np.abs(levels - fitted_lanczos(image, SIZE, SIZE, fit)).max() <= 1.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.inference_mode()
def test_outputs_beyond_the_range_are_clipped_not_wrapped(dtype: torch.dtype) -> None:
    transfer = cuda_transfer(config_of())
    outputs = torch.tensor([-3.0, -1.001, 0.0, 3.0]).to(dtype).repeat(1, 3, SIZE, SIZE // 4)
    [downloaded], wait = transfer.download(outputs)
    wait()
    assert downloaded.image[5, :4, 0].tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize("on_air", [False, True])
@torch.inference_mode()
def test_an_output_with_nan_is_an_error_once_it_is_waited_for(on_air: bool) -> None:
    config = config_of(frame_buffer_size=2, canvas="64x36")
    outputs = torch.zeros(2, 3, SIZE, SIZE)
    transfer = cuda_transfer(config, on_air=on_air)
    for place in ((0, 0, 0, 0), (1, 2, SIZE - 1, SIZE - 1)):
        _, wait = transfer.download(outputs)
        wait()
        broken = outputs.clone()
        broken[place] = float("nan")
        _, wait = transfer.download(broken)
        with pytest.raises(EngineError, match="not a number"):
            wait()
        with pytest.raises(EngineError, match="not a number"):
            CpuTransfer(config, CPU).download(broken)


@pytest.mark.parametrize("pixel_format", sorted(FORMATS))
@pytest.mark.parametrize("canvas_fit", ["fill", "fit", "stretch"])
@torch.inference_mode()
def test_on_air_outputs_are_downloaded_on_the_canvas_and_in_the_pixel_format(
    pixel_format: str, canvas_fit: str
) -> None:
    config = config_of(
        canvas="64x36", canvas_fit=canvas_fit, pixel_format=pixel_format, frame_buffer_size=2
    )
    transfer = cuda_transfer(config, on_air=True)
    slopes = np.add.outer(np.arange(SIZE) * 6, np.arange(SIZE) * 6)[..., None] + [60, 50, 40]
    given = [slopes.astype(np.uint8), slopes[::-1].astype(np.uint8)]
    outputs, wait = transfer.download(batch_of(transfer, given))
    wait()
    for output, image in zip(outputs, given, strict=True):
        assert np.abs(output.image.astype(int) - fitted(image, 64, 36, canvas_fit)).mean() < 5
        if pixel_format == "rgb":
            assert output.packed is None
        else:
            expected = FORMATS[pixel_format](output.image).reshape(-1)
            assert np.abs(output.packed.astype(int) - expected).max() <= 1


@torch.inference_mode()
def test_images_are_not_overwritten_while_they_are_referenced() -> None:
    transfer, held = cuda_transfer(config_of()), []
    for image in noise(6):
        [downloaded], wait = transfer.download(batch_of(transfer, [image]))
        wait()
        held.append((downloaded.image, image))
    assert all((output == image).all() for output, image in held)


# ---- a stream with this transfer


def made(stream: DiffusionStream, images: list[Image], **changes: Any) -> list[Frame]:
    """Return what `stream` makes of `images`, each copied when it came."""
    live = stream.config.live.changed(changes)
    out: list[Frame] = []
    for index, image in enumerate(images):
        came = stream(Frame(image, index, index / 30), live)
        out += [replace(frame, image=frame.image.copy()) for frame in came]
    return out + stream.drain(live)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("f", [1, 3])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_stream_gives_the_same_on_a_gpu_as_on_the_cpu(steps: int, f: int, ahead: bool) -> None:
    config = config_of(steps=steps, frame_buffer_size=f)
    models, images = stand_in(), noise(8)
    on_gpu = made(DiffusionStream(models, config, cuda_transfer(config), ahead=ahead), images)
    on_cpu = made(DiffusionStream(models, config), images)
    assert [frame.index for frame in on_gpu] == [frame.index for frame in on_cpu] == list(range(8))
    assert all((a.image == b.image).all() for a, b in zip(on_gpu, on_cpu, strict=True))


def test_ahead_outputs_come_a_call_later_or_with_a_skipped_frame() -> None:
    config = config_of(steps=1, enable_similar_image_filter=True)
    stream = DiffusionStream(stand_in(), config, cuda_transfer(config), ahead=True)
    live, (first, second) = config.live, noise(2)
    unfiltered = live.changed({"enable_similar_image_filter": False})
    shows = [(first, unfiltered), (second, unfiltered), (second, live), (second, live)]
    came = [stream(Frame(image, i, 0.0), snapshot) for i, (image, snapshot) in enumerate(shows)]
    assert [[frame.index for frame in frames] for frames in came] == [[], [0], [1], [2, 3]]
    assert stream.counts["skipped"] == 1
    assert (came[3][0].image == came[3][1].image).all()
    assert (came[3][0].image == came[2][0].image).all()


def test_the_similarity_of_sampled_pixels_is_that_of_whole_frames() -> None:
    config = config_of(width=64, height=64)
    transfer, whole = cuda_transfer(config), CpuTransfer(config, CPU)
    still, other = noise(2, 90, 160)
    noisy = np.clip(still.astype(int) + noise(1, 90, 160)[0] % 3 - 1, 0, 255).astype(np.uint8)
    metric = METRICS[config.similar_image_filter_metric]
    for image in (still, noisy, other):
        sampled = metric(transfer.similarity_vector(still), transfer.similarity_vector(image))
        assert sampled == pytest.approx(
            metric(*(whole.similarity_vector(whole.prepare(i)) for i in (still, image))), abs=0.1
        )


class NoDownloads(LateDownloads):
    """Downloads nothing, as a device without memory has nothing to read."""

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:  # noqa: ARG002
        return super().download(lambda: None)


def on_meta_device(config: Config) -> tuple[DiffusionStream, NoDownloads]:
    """Return a stream on torch's device without memory, where reading a value raises."""
    meta, copy_streams = torch.device("meta"), NoDownloads()
    models = stand_in(
        encode_text=lambda _text: Text(torch.empty(1, 2, 4, device=meta), None),
        alphas_cumprod=torch.linspace(0.999, 0.005, 1000).to(meta),
        device=meta,
    )
    transfer = CudaTransfer(config, meta, copy_streams, output_format(config, on_air=True))
    return DiffusionStream(models, config, transfer), copy_streams


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
@pytest.mark.parametrize("mode", ["img2img", "txt2img"])
def test_the_device_is_waited_for_once_a_frame_and_no_value_is_read(
    cfg_type: str, mode: str
) -> None:
    config = config_of(steps=3, cfg_type=cfg_type, mode=mode, canvas="64x36")
    stream, copy_streams = on_meta_device(config)
    live = config.live
    for index, image in enumerate(noise(8, 90, 160)):
        stream(Frame(image, index, 0.0), live)
        assert copy_streams.waits + copy_streams.synchronized == index + 1
        live = live.changed({"prompt": f"{index % 3}", "guidance_scale": index / 4})
    assert copy_streams.synchronized == config.num_steps - 1


def test_a_skipped_frame_queues_no_work_on_the_device() -> None:
    config = config_of(steps=1, enable_similar_image_filter=True, similar_image_filter_threshold=0)
    stream, copy_streams = on_meta_device(config)
    [still] = noise(1, 90, 160)
    with ops() as seen:
        for index in range(8):
            stream(Frame(still, index, 0.0), config.live)
    processed = stream.counts["processed"]
    assert stream.counts["skipped"] == 8 - processed > 3
    assert copy_streams.waits == processed == seen.count("bmm") / 4


# ---- memory


class Ops(TorchDispatchMode):
    """Records operations, those that allocated memory, and which copies were waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.allocated: list[str] = []
        self.crossings: list[bool] = []
        """For each copy between devices, whether the CPU waits for it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
        out = func(*args, **kwargs)
        name = str(func.overloadpacket).removeprefix("aten.")
        self.names.append(name)
        if any(t.untyped_storage()._cdata not in known for t in tensors(out)):
            self.allocated.append(name)
        if len({t.device for t in [*tensors((args, kwargs)), *tensors(out)]}) > 1:
            is_async = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            self.crossings.append(not is_async)
        return out

    def count(self, name: str) -> int:
        return self.names.count(name)


def tensors(tree: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("settings", [{}, {"mode": "txt2img"}, {"frame_buffer_size": 2}])
def test_the_cpu_waits_for_no_copy_to_the_device(settings: dict[str, Any]) -> None:
    config = config_of(steps=2, **settings)
    stream, _ = on_meta_device(config)
    images = noise(8, 90, 160)
    for index in range(2):
        stream(Frame(images[index], index, 0.0), config.live)
    with ops() as seen:
        for index in range(2, 8):
            stream(Frame(images[index], index, 0.0), config.live)
    assert seen.crossings == [False] * 6


@contextmanager
def ops() -> Iterator[Ops]:
    with torch.inference_mode(), Ops() as seen:
        yield seen


def test_a_frame_allocates_nothing_but_the_memory_of_its_output() -> None:
    config = config_of(frame_buffer_size=2, canvas="64x36")
    transfer = cuda_transfer(config, on_air=True)
    images = noise(2, 90, 160)
    with torch.inference_mode():
        transfer.download(batch_of(transfer, images))
    for _ in range(3):
        with ops() as seen:
            transfer.download(batch_of(transfer, images))
        assert seen.count("bmm") == 6
        assert seen.allocated == ["empty"]
