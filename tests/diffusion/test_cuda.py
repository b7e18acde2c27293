"""The frame path on a real card: what a processor cannot show."""

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

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")


def test_on_a_card_nothing_waits_but_for_the_picture_and_no_memory_is_taken() -> None:
    card = torch.device("cuda")
    config = config_of(steps=2, width=64, height=64, frame_buffer_size=2)
    models = on_card(stand_in(latent_shape=(4, 8, 8)), card)
    stream = DiffusionStream(models, config, frame_transfer(config, card, on_air=True))
    live, images = config.live, noise(2, 90, 160)
    for index in range(12):
        stream(Frame(images[index % 2], index, 0.0), live)
    before = taken()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in range(40):
            stream(Frame(images[index % 2], index, 0.0), live)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert taken() == before


@pytest.mark.parametrize("ahead", [False, True])
def test_a_card_gives_the_pictures_that_the_processor_gives(ahead: bool) -> None:
    card = torch.device("cuda")
    config = config_of(steps=2)
    images = noise(12, 90, 160)
    stream = DiffusionStream(on_card(stand_in(), card), config, ahead=ahead)
    ours, theirs = made(stream, images), made(DiffusionStream(stand_in(), config), images)
    assert [frame.index for frame in ours] == list(range(12))
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 2


def on_card(models: Any, card: torch.device) -> Any:
    return models._replace(
        encode_text=lambda text: Text(torch.full((1, 2, 4), len(text) / 10.0, device=card), None),
        alphas_cumprod=models.alphas_cumprod.to(card),
        device=card,
    )


def taken() -> tuple[int, int]:
    """Return how often the driver was asked for memory, on the card and pinned."""
    host = torch.cuda.host_memory_stats()["num_host_alloc"]
    return torch.cuda.memory_stats()["num_device_alloc"], host
