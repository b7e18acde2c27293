"""Video stream in an engine process, as in a broadcast."""

import time

import numpy as np

from streamcam.errors import StreamcamError
from streamcam.runtime.engine_process import RUNNING, EngineProcess
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame

START_S, RUN_S = 120.0, 30.0


def test_an_engine_process_reports_delivery_statistics_and_returns_output_frames() -> None:
    tiny = {"pipeline": "video", "model": "random:tiny-wan", "width": 64, "height": 32}
    config = build_config([tiny, {"device": "cpu", "steps": 1, "deadline": 30}])
    failures: list[StreamcamError] = []
    engine = EngineProcess(config, failures.append)
    engine.start()
    try:
        end = time.monotonic() + START_S
        while engine.state != RUNNING:
            assert time.monotonic() < end
            assert not failures
            time.sleep(0.05)
        received: list[int] = []
        end = time.monotonic() + RUN_S
        index = 0
        while not (engine.schedule.startswith("1 step, 4 frames") and len(received) >= 13):
            assert time.monotonic() < end, (engine.schedule, received)
            image = np.full((32, 64, 3), index % 256, np.uint8)
            engine.offer(Frame(image, index, time.monotonic()), config.live)
            index += 1
            time.sleep(1 / 30)
            received += [output.index for output in engine.outputs()]
    finally:
        engine.stop()
    assert received == sorted(set(received))
    assert " frames late" in engine.schedule
