"""Measure watts and joules per frame with the device's own energy counter."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamcam.bench.harness import changed, iter_frames, no_report
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.device_info import gpu_uuid
from streamcam.engines.placement import pick_device
from streamcam.errors import DeviceError
from streamcam.runtime.gpu_stats import nvml_handle
from streamcam.settings.config import Config
from streamcam.types import Image

RAPL = Path("/sys/class/powercap")
SETTLE_S = 1.0
MAX_FPS = 240
"""The highest rate of a camera."""


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """Energy counter of a device."""

    name: str
    joules: Callable[[], float]
    """Returns the energy used since some moment in the past."""


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """Power and energy of one scene at the camera's rate."""

    name: str
    watts: float
    joules_per_frame: float
    fps: float


def measure(
    config: Config, scene: Sequence[Image], counter: EnergyCounter, *, seconds: float
) -> list[EnergyReading]:
    """Measure a moving and a still scene, with the similarity filter off and on.

    Frames come at the camera's rate, or as fast as the model takes them where that is slower.
    """
    models = load_image_model(config, no_report, builds_here=True)
    readings = []
    for name, frames in (("moving", scene), ("still", scene[:1])):
        for filtered in (False, True):
            live = config.live.changed({"enable_similar_image_filter": filtered})
            title = f"{name} scene, filter {'on' if filtered else 'off'}"
            settings = changed(config, live=live)
            stream = DiffusionStream(models, settings)
            readings.append(_measure_scene(title, stream, settings, frames, counter, seconds))
    return readings


def _measure_scene(
    name: str,
    stream: DiffusionStream,
    config: Config,
    scene: Sequence[Image],
    counter: EnergyCounter,
    seconds: float,
) -> EnergyReading:
    frames, interval = iter_frames(scene), 1 / float(config.broadcast.rate)

    def run(duration_s: float) -> int:
        started_at, count = time.monotonic(), 0
        while (now := time.monotonic() - started_at) < duration_s:
            time.sleep(max(0.0, count * interval - now))
            stream(next(frames), config.live)
            count += 1
        return count

    run(SETTLE_S)
    before, started_at = counter.joules(), time.monotonic()
    count = run(seconds)
    joules, elapsed_s = counter.joules() - before, time.monotonic() - started_at
    return EnergyReading(name, joules / elapsed_s, joules / count, count / elapsed_s)


def counter_for(config: Config) -> EnergyCounter:
    """Return the energy counter of the device that `config` runs on.

    Raises:
        DeviceError: it has no counter that can be read.
    """
    device = pick_device(config.device)
    if uuid := gpu_uuid(device):
        return nvml_counter(uuid)
    if device.type == "cpu":
        return rapl_counter(RAPL)
    # AMD's GPUs are called cuda as well.
    name = "AMD's GPUs" if device.type == "cuda" else device.type
    raise DeviceError(f"no energy counter is known for {name}; measure at the socket")


def nvml_counter(uuid: str) -> EnergyCounter:
    """Return the counter of an NVIDIA GPU from Volta on: energy since the driver was loaded."""
    import pynvml

    try:
        handle = nvml_handle(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise DeviceError(
            f"this GPU has no energy counter ({error}); whole GPUs from Volta on have one, and"
            " parts of one (MIG) have none"
        ) from None
    return EnergyCounter("NVML", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)


def rapl_counter(folder: Path) -> EnergyCounter:
    """Return the counter of a CPU: the sum of all its packages.

    Args:
        folder: Linux's ``powercap``.
    """
    zones = sorted(folder.glob("intel-rapl:?"))
    if not zones:
        raise DeviceError(
            "this CPU has no energy counter: virtual machines have none, and on other machines"
            " it needs the kernel module intel_rapl_msr"
        )
    counters = [_RaplZone(zone) for zone in zones]
    return EnergyCounter("RAPL", lambda: sum(counter.joules() for counter in counters))


class _RaplZone:
    """Counter file in microjoules that wraps around at its maximum."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._maximum = _read_number(folder / "max_energy_range_uj")
        self._last = _read_number(self._file)
        self._wraps = 0

    def joules(self) -> float:
        now = _read_number(self._file)
        self._wraps += now < self._last
        self._last = now
        return (self._wraps * self._maximum + now) / 1e6


def _read_number(file: Path) -> int:
    try:
        return int(file.read_text())
    except OSError as error:
        raise DeviceError(
            f"cannot read {file}: {error.strerror}; only root can:"
            f" sudo chmod o+r {file} changes that until the next start"
        ) from None
