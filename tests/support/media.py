"""Write and read small media files; fakes of a stream and a sink."""

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from typing import Any

import av
import numpy as np

from streamcam.settings.parameters import Parameters
from streamcam.sinks.sink_table import open_file_sink
from streamcam.sources.source_table import open_file_source
from streamcam.types import Frame, Image

RATE = Fraction(30)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: Sequence[int], *, width: int = 64, height: int = 48) -> Image:
    """Return an image of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def noise(count: int, *, width: int = 64, height: int = 48, seed: int = 0) -> list[Frame]:
    """Return frames of random noise, all different, which hardly compress."""
    rng = np.random.default_rng(seed)
    shape = (count, height, width, 3)
    return numbered(rng.integers(0, 256, shape, dtype=np.uint8))


def numbered(images: Iterable[Image], rate: Fraction = RATE) -> list[Frame]:
    """Return `images` as frames at a constant rate."""
    return [Frame(image, i, float(i / rate)) for i, image in enumerate(images)]


def read(path: Path) -> list[Frame]:
    """Read all frames of a file with streamcam's own source."""
    with open_file_source(path, RATE) as source:
        return list(source)


def write(path: Path, frames: Iterable[Frame], rate: Fraction = RATE) -> Path:
    """Write `frames` to `path` with streamcam's own sink."""
    with open_file_sink(path, rate) as sink:
        for frame in frames:
            sink.send(frame)
    return path


def encode(
    path: Path,
    images: Iterable[Image],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    codec_options: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write a video as most programs do: not fragmented, with the index at the end."""
    with av.open(str(path), "w", options=options) as container:
        track: Any = container.add_stream(codec, rate=RATE, options=dict(codec_options or {}))
        track.pix_fmt = pix_fmt
        images = list(images)
        track.height, track.width = images[0].shape[:2]
        for image in images:
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(track.encode(None))
    return path


def sound(path: Path, codec: str) -> Path:
    """Write a tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream(codec, rate=44100)
        track.layout = "mono"
        silence = np.zeros((1, 4410), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate = 44100
        frame.pts = 0
        resampler = av.AudioResampler(track.format, "mono", 44100, track.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(part))
        container.mux(track.encode(None))
    return path


def decoded(path: Path) -> int:
    """Count the frames of a video with PyAV alone."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def decoded_so_far(path: Path) -> int:
    """Count the frames of a video that is still being written; 0 if none can be read yet."""
    try:
        return decoded(path)
    except (OSError, ValueError, EOFError, av.error.FFmpegError):
        return 0


def run_script(script: str, *arguments: object, errors: bool = False) -> str:
    """Run `script` in a new Python without torch; return its stdout, or its stderr with `errors`.

    The script finds its first argument as `path`; `peak_mb()` gives its peak memory in MB.
    """
    result = subprocess.run(
        [sys.executable, "-c", PROLOGUE + dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr if errors else result.stdout


PROLOGUE = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path

path = Path(sys.argv[1])

def peak_mb():
    unit = 1024 if sys.platform == "linux" else 1024 ** 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
"""


class PassthroughStream:
    """Stream that returns its input frames, `delay` calls later."""

    chunk = 1

    def __init__(self, delay: int = 0) -> None:
        self.delay = delay
        self.seen: list[Parameters] = []
        self._delayed: list[Frame] = []

    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        self.seen.append(parameters)
        self._delayed.append(frame)
        return [self._delayed.pop(0)] if len(self._delayed) > self.delay else []

    def drain(self, parameters: Parameters) -> list[Frame]:  # noqa: ARG002
        delayed, self._delayed = self._delayed, []
        return delayed


class CollectingSink:
    """Sink that collects the frames sent to it."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed_after: Any = "not closed"

    def __enter__(self) -> "CollectingSink":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.closed_after = kind

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)
