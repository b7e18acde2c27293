"""Image stream on a real GPU: synchronisation and memory, which the CPU cannot show."""

from typing import Any

import numpy as np
import pytest
import torch

from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.frames import frame_transfer
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
