"""Throughput of several streams on one engine: ``python -m benchmarks.shared_engine``.

Every stream of nano, in a thread of its own, takes frames as fast as they are done: first each by
itself, in turns, then all of them in the same calls of the model.
"""

import json
import threading
import time

import numpy as np

from streamcam.diffusion.shared_stream import SharedStream, load_shared_streams, warm_up_together
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame

COUNTS = (1, 2, 4)
SECONDS = 6.0
ROUNDS = 2


def frames_per_second(streams: list[SharedStream]) -> float:
    """Return how many outputs all streams give together."""
    counts = [0] * len(streams)
    end = time.monotonic() + SECONDS

    def run(number: int) -> None:
        config = streams[number].config
        shape = (config.height, config.width, 3)
        image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
        parameters = config.live.changed({"seed": number})
        while time.monotonic() < end:
            counts[number] += len(streams[number](Frame(image, counts[number], 0.0), parameters))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(streams))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def main() -> None:
    """Print a row for each number of streams."""
    size = {"width": 448, "height": 256, "shape": "fixed"}
    config = build_config([{"model": "nano", **size, "prompt": "oil painting", "warmup": 2}])
    by_count = {}
    for count in COUNTS:
        by_count[count] = load_shared_streams(config, lambda _: None, count)
        warm_up_together(by_count[count])
    best = dict.fromkeys(COUNTS, 0.0)
    for _ in range(ROUNDS):
        for count, streams in by_count.items():
            best[count] = max(best[count], frames_per_second(streams))
    for count, fps in best.items():
        row = {"streams": count, "fps": round(fps, 1), "gain": round(fps / best[1], 2)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
