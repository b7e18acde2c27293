"""Image stream on a real GPU: synchronisation and memory, which the CPU cannot show."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.cuda_graph import CudaCapture
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.frames import frame_transfer
from streamcam.settings.config import Config
from streamcam.types import Frame
from tests.diffusion.test_stream import stand_in
from tests.frames.test_transfer import config_of, made, noise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")


def test_on_a_gpu_the_cpu_waits_only_for_the_output_and_no_memory_is_allocated() -> None:
    gpu = torch.device("cuda")
    config = config_of(steps=2, width=64, height=64, frame_buffer_size=2)
    models = on_gpu(stand_in(latent_shape=(4, 8, 8)), gpu)
    stream = DiffusionStream(models, config, frame_transfer(config, gpu, on_air=True))
    live, images = config.live, noise(2, 90, 160)
    for index in range(12):
        stream(Frame(images[index % 2], index, 0.0), live)
    before = allocations()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in range(40):
            stream(Frame(images[index % 2], index, 0.0), live)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert allocations() == before


@pytest.mark.parametrize("ahead", [False, True])
def test_a_gpu_gives_the_images_that_the_cpu_gives(ahead: bool) -> None:
    gpu = torch.device("cuda")
    config = config_of(steps=2)
    images = noise(12, 90, 160)
    stream = DiffusionStream(on_gpu(stand_in(), gpu), config, ahead=ahead)
    on_gpu_frames, on_cpu_frames = (
        made(stream, images),
        made(DiffusionStream(stand_in(), config), images),
    )
    assert [frame.index for frame in on_gpu_frames] == list(range(12))
    for a, b in zip(on_gpu_frames, on_cpu_frames, strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 2


# ---- frames as CUDA graphs

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaGraphLaunch")
MOST_LAUNCHES = 6


def gpu_config(**settings: Any) -> Config:
    tiny = {"model": "random:tiny-sd-turbo", "prompt": "a cat", "acceleration": "graph"}
    return config_of(**tiny | {"device": "cuda", "width": 64, "height": 64} | settings)


def run_live(stream: DiffusionStream, count: int = 16) -> list[Frame]:
    """Run frames through every kind of live change."""
    live, out = stream.config.live, []
    changes: dict[int, dict[str, Any]] = {
        8: {"prompt": "a red dog"},
        9: {"prompt": [("a red dog", 1.0), ("snow", 0.7)]},
        10: {"guidance_scale": 2.0, "delta": 0.5},
        11: {"strength": 0.8},
        12: {"seed": 7},
    }
    for index, image in enumerate(noise(count, 90, 160)):
        live = live.changed(changes.get(index, {}))
        came = stream(Frame(image, index, 0.0), live)
        out += [replace(frame, image=frame.image.copy()) for frame in came]
    return out + stream.drain(live)


@pytest.mark.parametrize("settings", [{}, {"vae": "full"}, {"cfg_type": "full", "steps": 3}])
def test_frames_recorded_on_a_gpu_are_those_that_run_plainly(settings: dict[str, Any]) -> None:
    config, reports = gpu_config(**settings), list[str]()
    models = load_image_model(config, reports.append)
    plainly = models._replace(graphs=GraphedCalls)
    recorded, plain = (
        run_live(DiffusionStream(each, config, on_air(config, each))) for each in (models, plainly)
    )
    assert any("frames run as one CUDA graph" in line for line in reports), reports
    assert [frame.index for frame in recorded] == [frame.index for frame in plain]
    for a, b in zip(recorded, plain, strict=True):
        assert np.array_equal(a.image, b.image), f"frame {a.index}"


def test_a_recorded_frame_launches_next_to_nothing_and_allocates_nothing() -> None:
    config = gpu_config(steps=2)
    models = load_image_model(config, lambda _: None)
    stream = DiffusionStream(models, config, on_air(config, models))
    live, images = config.live, noise(2, 90, 160)
    for index in range(12):
        stream(Frame(images[index % 2], index, 0.0), live)
    before = allocations()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for index in range(10):
            stream(Frame(images[index % 2], index, 0.0), live)
    launched = sum(e.count for e in profile.key_averages() if e.key.startswith(LAUNCHES))
    assert 10 <= launched <= 10 * MOST_LAUNCHES
    assert allocations() == before


@pytest.mark.parametrize("where", ["python", "read", "synchronise"])
def test_a_failed_capture_leaves_random_numbers_memory_and_the_stream_sound(where: str) -> None:
    gpu = torch.device("cuda", 0)
    static = torch.ones(64, device=gpu)
    static.mul_(1)  # What is recorded has run before, as on air.

    def call() -> None:
        static.mul_(2)
        if where == "python":
            raise ValueError("an engine that raises")
        if where == "read":
            static.sum().item()
        torch.cuda.synchronize()

    state = torch.cuda.get_rng_state(gpu)
    stream, capture = torch.cuda.current_stream(), CudaCapture(gpu)
    with pytest.raises((RuntimeError, ValueError)):
        capture(call)
    assert torch.equal(torch.cuda.get_rng_state(gpu), state)
    assert torch.cuda.current_stream() == stream
    drawn = torch.randn(8, device=gpu)
    torch.cuda.set_rng_state(state, gpu)
    assert torch.equal(torch.randn(8, device=gpu), drawn)
    # Memory that several streams have used comes back, which it does not during a capture.
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    for _ in range(4):
        used = torch.empty(1 << 24, device=gpu)
        used.record_stream(side)
        del used
        torch.cuda.synchronize()
    assert torch.cuda.memory_allocated(gpu) < 1 << 26
    assert torch.empty(8, pin_memory=True).is_pinned()
    assert torch.equal(static.cpu(), torch.ones(64))
    replay = capture(lambda: void(static.mul_(3)))
    replay()
    assert torch.equal(static.cpu(), torch.full((64,), 3.0))


def void(_: object) -> None:
    return


def on_air(config: Config, models: ImageModel) -> Any:
    return frame_transfer(config, models.device, on_air=True)


def on_gpu(models: Any, gpu: torch.device) -> Any:
    return models._replace(
        encode_text=lambda text: Text(torch.full((1, 2, 4), len(text) / 10.0, device=gpu), None),
        alphas_cumprod=models.alphas_cumprod.to(gpu),
        device=gpu,
    )


def allocations() -> tuple[int, int]:
    """Return the numbers of allocations by the driver, on the GPU and of pinned memory."""
    host = torch.cuda.host_memory_stats()["num_host_alloc"]
    return torch.cuda.memory_stats()["num_device_alloc"], host
