"""Memory and power of an NVIDIA GPU, read through NVML without torch."""

import time
from contextlib import suppress

MAX_AGE_S = 1.0


class GpuStats:
    """Read memory and power at most once a second; None where they cannot be read."""

    def __init__(self, device: str) -> None:
        self._index = int(device.partition(":")[2] or 0)
        self._enabled = device == "auto" or device.startswith("cuda")
        self._read_at = -MAX_AGE_S
        self._values: tuple[float | None, float | None] = (None, None)
        self._handle: object | None = None

    def read(self) -> tuple[float | None, float | None]:
        """Return bytes of memory in use, and watts."""
        now = time.monotonic()
        if self._enabled and now - self._read_at >= MAX_AGE_S:
            self._read_at = now
            self._values = self._query()
        return self._values

    def _query(self) -> tuple[float | None, float | None]:
        import pynvml

        memory = power = None
        try:
            self._handle = self._handle or _nvml_handle(self._index)
            memory = float(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except pynvml.NVMLError:
            self._enabled = False  # No such GPU, or no driver: it will not appear later.
            return None, None
        with suppress(pynvml.NVMLError):  # Some GPUs do not report it.
            power = pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000
        return memory, power


def expects_gpu(device: str) -> bool:
    """Return whether the setting `device` means an NVIDIA GPU, as ``auto`` does where one is."""
    import pynvml

    if device != "auto":
        return device.startswith("cuda")
    try:
        _nvml_handle(0)
    except pynvml.NVMLError:
        return False
    return True


def _nvml_handle(index: int) -> object:
    import pynvml

    pynvml.nvmlInit()
    handle: object = pynvml.nvmlDeviceGetHandleByIndex(index)
    return handle
