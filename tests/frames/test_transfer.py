"""The frame path of a device, run by the processor: what it gives, and what it never does.

Only `CudaCopyStreams` needs a card: see `test_card.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.frames import frame_transfer
from streamcam.frames.cpu_transfer import CpuTransfer
from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.frames.image_tensors import fitted
from streamcam.frames.transfer import FrameTransfer
from streamcam.pixels import FORMATS
from streamcam.pixels import fitted as placed
from streamcam.settings.config import Config, build_config
from streamcam.types import Frame, Image
from tests.diffusion.sequential_reference import InTurn
from tests.diffusion.test_stream import SIZE, stand_in

CPU = torch.device("cpu")


class Late(InTurn):
    """Copies from the device only when waited for, as late as a device ever may."""

    def __init__(self) -> None:
        self.waits = self.settled = 0

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        def wait() -> None:
            self.waits += 1
            copy()

        return wait

    def synchronize(self) -> None:
        self.settled += 1


def config_of(**settings: Any) -> Config:
    return build_config([{"width": SIZE, "height": SIZE, **settings}])


def device_path(config: Config, *, on_air: bool = False) -> CudaTransfer:
    return CudaTransfer(config, CPU, Late(), output_format(config, on_air=on_air))


def noise(count: int, height: int = SIZE, width: int = SIZE) -> list[Image]:
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def sent(path: FrameTransfer, images: list[Image]) -> torch.Tensor:
    """Return the batch of `images`."""
    for image in images:
        path.upload(path.prepare(image))
    return path.batch()


def test_each_device_has_its_path() -> None:
    config = config_of()
    assert isinstance(frame_transfer(config, CPU), CpuTransfer)
    assert isinstance(frame_transfer(config, torch.device("mps")), CpuTransfer)


@torch.inference_mode()
def test_frames_of_the_models_size_arrive_and_come_back_exactly() -> None:
    config = config_of(frame_buffer_size=3)
    ours, theirs = device_path(config), CpuTransfer(config, CPU)
    for given in (noise(3), noise(2), [np.arange(768, dtype=np.uint8).reshape(SIZE, SIZE, 3)] * 3):
        batch = sent(ours, given)
        assert (batch == sent(theirs, given)).all()
        pictures, wait = ours.download(batch)
        wait()
        assert all((p.image == g).all() for p, g in zip(pictures, given, strict=False))


@pytest.mark.parametrize("fit", ["fill", "fit", "stretch"])
@torch.inference_mode()
def test_frames_of_any_size_arrive_as_pillow_fits_them(fit: str) -> None:
    config = config_of(fit=fit)
    path = device_path(config)
    for size in ((80, 160), (40, 20), (8, 16), (80, 160)):
        for image in noise(2, *size):
            levels = sent(path, [image])[0].add(1).mul(127.5).round().permute(1, 2, 0).numpy()
            assert np.abs(levels - fitted(image, SIZE, SIZE, fit)).max() <= 1.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.inference_mode()
def test_pictures_beyond_the_range_are_clipped_not_wrapped(dtype: torch.dtype) -> None:
    path = device_path(config_of())
    pictures = torch.tensor([-3.0, -1.001, 0.0, 3.0]).to(dtype).repeat(1, 3, SIZE, SIZE // 4)
    [picture], wait = path.download(pictures)
    wait()
    assert picture.image[5, :4, 0].tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize("pixel_format", sorted(FORMATS))
@pytest.mark.parametrize("canvas_fit", ["fill", "fit", "stretch"])
@torch.inference_mode()
def test_on_air_pictures_come_back_on_the_canvas_and_ready_to_go_out(
    pixel_format: str, canvas_fit: str
) -> None:
    config = config_of(
        canvas="64x36", canvas_fit=canvas_fit, pixel_format=pixel_format, frame_buffer_size=2
    )
    path = device_path(config, on_air=True)
    slopes = np.add.outer(np.arange(SIZE) * 6, np.arange(SIZE) * 6)[..., None] + [60, 50, 40]
    given = [slopes.astype(np.uint8), slopes[::-1].astype(np.uint8)]
    pictures, wait = path.download(sent(path, given))
    wait()
    for picture, image in zip(pictures, given, strict=True):
        assert np.abs(picture.image.astype(int) - placed(image, 64, 36, canvas_fit)).mean() < 5
        if pixel_format == "rgb":
            assert picture.packed is None
        else:
            expected = FORMATS[pixel_format](picture.image).reshape(-1)
            assert np.abs(picture.packed.astype(int) - expected).max() <= 1


@torch.inference_mode()
def test_pictures_are_not_written_over_while_they_are_held() -> None:
    path, held = device_path(config_of()), []
    for image in noise(6):
        [picture], wait = path.download(sent(path, [image]))
        wait()
        held.append((picture.image, image))
    assert all((picture == image).all() for picture, image in held)


# ---- the stream on it


def made(stream: DiffusionStream, images: list[Image], **changes: Any) -> list[Frame]:
    """Return what `stream` makes of `images`, and of their pictures what they were by then."""
    live = stream._config.live.changed(changes)
    out: list[Frame] = []
    for index, image in enumerate(images):
        came = stream(Frame(image, index, index / 30), live)
        out += [replace(frame, image=frame.image.copy()) for frame in came]
    return out + stream.drain(live)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("f", [1, 3])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_stream_gives_on_a_device_what_it_gives_on_the_processor(
    steps: int, f: int, ahead: bool
) -> None:
    config = config_of(steps=steps, frame_buffer_size=f)
    models, images = stand_in(), noise(8)
    ours = made(DiffusionStream(models, config, device_path(config), ahead=ahead), images)
    theirs = made(DiffusionStream(models, config), images)
    assert [frame.index for frame in ours] == [frame.index for frame in theirs] == list(range(8))
    assert all((a.image == b.image).all() for a, b in zip(ours, theirs, strict=True))


def test_ahead_pictures_come_a_call_later_and_a_still_frame_brings_them() -> None:
    config = config_of(steps=1, enable_similar_image_filter=True)
    stream = DiffusionStream(stand_in(), config, device_path(config), ahead=True)
    live, (first, second) = config.live, noise(2)
    unfiltered = live.changed({"enable_similar_image_filter": False})
    shows = [(first, unfiltered), (second, unfiltered), (second, live), (second, live)]
    came = [stream(Frame(image, i, 0.0), snapshot) for i, (image, snapshot) in enumerate(shows)]
    assert [[frame.index for frame in frames] for frames in came] == [[], [0], [1], [2, 3]]
    assert stream.counts["skipped"] == 1
    assert (came[3][0].image == came[3][1].image).all()
    assert (came[3][0].image == came[2][0].image).all()


def test_what_the_filter_sees_of_a_frame_tells_as_much_as_the_whole() -> None:
    config = config_of(width=64, height=64)
    path, whole = device_path(config), CpuTransfer(config, CPU)
    still, other = noise(2, 90, 160)
    noisy = np.clip(still.astype(int) + noise(1, 90, 160)[0] % 3 - 1, 0, 255).astype(np.uint8)
    metric = DiffusionStream(stand_in(), config)._metric
    for image in (still, noisy, other):
        sampled = metric(path.similarity_vector(still), path.similarity_vector(image))
        assert sampled == pytest.approx(
            metric(*(whole.similarity_vector(whole.prepare(i)) for i in (still, image))), abs=0.1
        )


class Mute(Late):
    """Of a device that is asked for nothing: it would have to answer."""

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:  # noqa: ARG002
        return super().download(lambda: None)


def on_a_device_that_never_answers(config: Config) -> tuple[DiffusionStream, Mute]:
    """Return a stream on torch's own device without memory: to read a value of it raises."""
    meta, copy_streams = torch.device("meta"), Mute()
    models = stand_in(
        encode_text=lambda _text: Text(torch.empty(1, 2, 4, device=meta), None),
        alphas_cumprod=torch.linspace(0.999, 0.005, 1000).to(meta),
        device=meta,
    )
    path = CudaTransfer(config, meta, copy_streams, output_format(config, on_air=True))
    return DiffusionStream(models, config, path), copy_streams


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
@pytest.mark.parametrize("mode", ["img2img", "txt2img"])
def test_the_device_is_waited_for_once_a_frame_and_never_asked_for_a_value(
    cfg_type: str, mode: str
) -> None:
    config = config_of(steps=3, cfg_type=cfg_type, mode=mode, canvas="64x36")
    stream, copy_streams = on_a_device_that_never_answers(config)
    live = config.live
    for index, image in enumerate(noise(8, 90, 160)):
        stream(Frame(image, index, 0.0), live)
        assert copy_streams.waits + copy_streams.settled == index + 1
        live = live.changed({"prompt": f"{index % 3}", "guidance_scale": index / 4})
    assert copy_streams.settled == config.num_steps - 1


def test_a_skipped_frame_does_not_bother_the_device() -> None:
    config = config_of(steps=1, enable_similar_image_filter=True, similar_image_filter_threshold=0)
    stream, copy_streams = on_a_device_that_never_answers(config)
    [still] = noise(1, 90, 160)
    with ops() as seen:
        for index in range(8):
            stream(Frame(still, index, 0.0), config.live)
    processed = stream.counts["processed"]
    assert stream.counts["skipped"] == 8 - processed > 3
    assert copy_streams.waits == processed == seen.count("bmm") / 4


# ---- memory


class Ops(TorchDispatchMode):
    """Notes the operations there were, which took new memory, and which copies were waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.took: list[str] = []
        self.crossings: list[bool] = []
        """Copies between devices: whether the processor waits for them."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
        out = func(*args, **kwargs)
        name = str(func.overloadpacket).removeprefix("aten.")
        self.names.append(name)
        if any(t.untyped_storage()._cdata not in given for t in tensors(out)):
            self.took.append(name)
        if len({t.device for t in [*tensors((args, kwargs)), *tensors(out)]}) > 1:
            waits = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            self.crossings.append(not waits)
        return out

    def count(self, name: str) -> int:
        return self.names.count(name)


def tensors(tree: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("settings", [{}, {"mode": "txt2img"}, {"frame_buffer_size": 2}])
def test_the_processor_waits_for_no_copy_to_the_device(settings: dict[str, Any]) -> None:
    config = config_of(steps=2, **settings)
    stream, _ = on_a_device_that_never_answers(config)
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


def test_a_frame_takes_no_memory_but_that_of_the_picture_it_becomes() -> None:
    config = config_of(frame_buffer_size=2, canvas="64x36")
    path = device_path(config, on_air=True)
    images = noise(2, 90, 160)
    with torch.inference_mode():
        path.download(sent(path, images))
    for _ in range(3):
        with ops() as seen:
            path.download(sent(path, images))
        assert seen.count("bmm") == 6
        assert seen.took == ["empty"]
