"""Watts and joules a frame, by the device's own counter."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamcam.bench.harness import changed, iter_frames, quiet
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.placement import pick_device
from streamcam.errors import DeviceError
from streamcam.settings.config import Config
from streamcam.types import Image

RAPL = Path("/sys/class/powercap")
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the energy of a device."""

    name: str
    joules: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Draw:
    """What one scene drew at the camera's rate."""

    name: str
    watts: float
    joules_per_frame: float
    fps: float


def measure(
    config: Config, scene: Sequence[Image], counter: Counter, *, seconds: float
) -> list[Draw]:
    """Return what a moving and a still scene draw, with the similarity filter off and on.

    Frames come at the camera's rate, or as fast as the model takes them where that is slower.
    """
    models = load_image_model(config, quiet, builds_here=True)
    draws = []
    for name, frames in (("moving", scene), ("still", scene[:1])):
        for on in (False, True):
            live = config.live.changed({"enable_similar_image_filter": on})
            title = f"{name} scene, filter {'on' if on else 'off'}"
            asked = changed(config, live=live)
            draws.append(
                _draw(title, DiffusionStream(models, asked), asked, frames, counter, seconds)
            )
    return draws


def _draw(
    name: str,
    stream: DiffusionStream,
    config: Config,
    scene: Sequence[Image],
    counter: Counter,
    seconds: float,
) -> Draw:
    frames, interval = iter_frames(scene), 1 / float(config.broadcast.rate)

    def run(how_long: float) -> int:
        began, count = time.monotonic(), 0
        while (now := time.monotonic() - began) < how_long:
            time.sleep(max(0.0, count * interval - now))
            stream(next(frames), config.live)
            count += 1
        return count

    run(SETTLE_S)
    before, began = counter.joules(), time.monotonic()
    count = run(seconds)
    used, took = counter.joules() - before, time.monotonic() - began
    return Draw(name, used / took, used / count, count / took)


def counter_for(config: Config) -> Counter:
    """Return the energy counter of the device that `config` runs on.

    Raises:
        DeviceError: it has none that can be read, with the remedy.
    """
    device = pick_device(config.device)
    if device.type == "cuda":
        return nvml(device.index or 0)
    if device.type == "cpu":
        return rapl(RAPL)
    raise DeviceError(f"no energy counter is known for {device.type}; measure at the socket")


def nvml(index: int) -> Counter:
    """Return an NVIDIA GPU's counter: millijoules since the driver was loaded (Volta on)."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise DeviceError(f"this GPU tells no energy ({error}); GPUs from Volta on do") from None
    return Counter("NVML", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)


def rapl(folder: Path) -> Counter:
    """Return a processor's counter: all its packages together."""
    zones = sorted(folder.glob("intel-rapl:?"))
    if not zones:
        raise DeviceError(
            "this processor's energy counter is not there: virtual machines have none, and on"
            " others the kernel module is intel_rapl_msr"
        )
    files = [_Zone(zone) for zone in zones]
    return Counter("RAPL", lambda: sum(file.joules() for file in files))


class _Zone:
    """A counter in microjoules that begins anew when it is full."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._full = _number(folder / "max_energy_range_uj")
        self._last = _number(self._file)
        self._turns = 0

    def joules(self) -> float:
        now = _number(self._file)
        self._turns += now < self._last
        self._last = now
        return (self._turns * self._full + now) / 1e6


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except OSError as error:
        raise DeviceError(
            f"cannot read {file}: {error.strerror}; it is root's to read:"
            f" sudo chmod o+r {file}, until the next start"
        ) from None
