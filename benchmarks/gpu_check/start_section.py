"""Start of a process: the time to its first output, and its rate five seconds after the start."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from benchmarks.kept_model import kept_on_disk
from benchmarks.target_table import GRAPH_SOON, START, Outcome
from streamcam.bench.start_time import SOON_S, start_time
from streamcam.engines.placement import place
from streamcam.errors import EngineError
from streamcam.models.families import RANDOM


def start(check: CheckSettings, engine: str) -> Iterator[Record]:
    """Yield both for `engine`, on a model that is on disk as real ones are.

    An engine that is built must have been built before.
    """
    try:
        config = check.config()
        place(check.config(acceleration=engine))
    except EngineError as error:
        yield LeftOut(f"{engine}: {error}")
        return
    folder = Path(check.folder) / config.model.removeprefix(RANDOM)
    kept_on_disk(config, folder)
    config = check.config(model_id_or_path=str(folder), acceleration=engine)
    # The first start checks how near it comes to float32, once for all; engines are built in it.
    for count in ("first", "second"):
        began = start_time(config)
        yield Reading(f"{engine}, {count} start", began.values())
    yield Outcome(START, began.first_output_s, f"on {engine}, the process included")
    if engine == "graph":
        note = f"{SOON_S:.0f} s after the start, first output after {began.first_output_s:.1f} s"
        yield Outcome(GRAPH_SOON, began.fps_soon, note)
