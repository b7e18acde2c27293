"""Memory that the broadcast and the engine process share: room for what either of them sends."""

from contextlib import closing

import numpy as np
import pytest

from streamcam.pixels import size_in_bytes
from streamcam.runtime.engine_frames import EngineFrames
from streamcam.settings.config_layers import build_config

VIDEO = {"pipeline": "video", "width": 64, "height": 32}
IMAGE = {"pipeline": "image", "width": 64, "height": 64}


@pytest.mark.parametrize("pipeline", [VIDEO, IMAGE])
def test_outputs_that_a_gpu_converts_come_back_on_the_canvas(pipeline: dict[str, object]) -> None:
    config = build_config([{"device": "cuda:0", "canvas": "320x180"}, pipeline])
    frames = EngineFrames(config)
    with closing(frames):
        image = np.full((180, 320, 3), 7, np.uint8)
        packed = bytes(size_in_bytes(config.broadcast.pixel_format, config.broadcast.canvas))
        frames.rings[1].put(image, 0, 0.0, version=0, metadata=packed)
        (output,) = frames.receive()
        assert (output.image == image).all()
        assert bytes(output.packed) == packed


@pytest.mark.parametrize(("pipeline", "fits"), [(VIDEO, False), (IMAGE, True)])
def test_camera_frames_are_sent_whole_where_a_gpu_fits_them(
    pipeline: dict[str, object], fits: bool
) -> None:
    config = build_config([{"device": "cuda:0"}, pipeline])
    frames = EngineFrames(config)
    with closing(frames):
        width, height = config.broadcast.camera_size
        assert frames.rings[0].has_room_for(np.zeros((height, width, 3), np.uint8)) is fits
