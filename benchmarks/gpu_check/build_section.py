"""Engines that are built: the time that it takes, as on air, and their speed."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from benchmarks.gpu_check.speed_sections import compared
from benchmarks.target_table import FOUR, ONE, Target
from streamcam.diffusion.image_model import ENGINE_BUILD_MAIN
from streamcam.engines.build_process import build_in_child
from streamcam.engines.placement import place
from streamcam.errors import EngineError


def one_frame(check: CheckSettings, engine: str) -> Iterator[Record]:
    """Yield build times and speed of `engine`, with one frame a call."""
    yield from _built(check, engine, ONE)


def four_frames(check: CheckSettings, engine: str) -> Iterator[Record]:
    """Yield the same with four frames a call."""
    yield from _built(check, engine, FOUR, frame_buffer_size=4)


def _built(check: CheckSettings, engine: str, rate: Target, **values: Any) -> Iterator[Record]:
    try:
        config = check.config(acceleration=engine, **values)
        place(config)
    except EngineError as error:
        yield LeftOut(f"{engine}: {error}")
        return
    started_at = time.monotonic()
    for line in build_in_child(ENGINE_BUILD_MAIN, config):
        yield Reading(line, {"s": time.monotonic() - started_at})
    yield Reading(f"{engine}: all is built", {"s": time.monotonic() - started_at})
    yield from compared(check, config, (*check.ready_engines, engine), rate)
