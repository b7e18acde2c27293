"""What the accelerator says of itself, without torch: memory and power of an NVIDIA GPU."""

import time
from contextlib import suppress

FRESH_S = 1.0


class GpuStats:
    """Reads no more than once a second; gives None where nothing can be read."""

    def __init__(self, device: str) -> None:
        self._index = int(device.partition(":")[2] or 0)
        self._wanted = device == "auto" or device.startswith("cuda")
        self._read_at = -FRESH_S
        self._values: tuple[float | None, float | None] = (None, None)
        self._handle: object | None = None

    def read(self) -> tuple[float | None, float | None]:
        """Return bytes of memory in use, and watts."""
        now = time.monotonic()
        if self._wanted and now - self._read_at >= FRESH_S:
            self._read_at = now
            self._values = self._ask()
        return self._values

    def _ask(self) -> tuple[float | None, float | None]:
        import pynvml

        memory = power = None
        try:
            self._handle = self._handle or _card(self._index)
            memory = float(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except pynvml.NVMLError:
            self._wanted = False  # No such GPU, or no driver: it will not appear later.
            return None, None
        with suppress(pynvml.NVMLError):  # Some GPUs do not tell.
            power = pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000
        return memory, power


def expects_card(device: str) -> bool:
    """Return whether the setting `device` means an NVIDIA GPU, as ``auto`` does where one is."""
    import pynvml

    if device != "auto":
        return device.startswith("cuda")
    try:
        _card(0)
    except pynvml.NVMLError:
        return False
    return True


def _card(index: int) -> object:
    import pynvml

    pynvml.nvmlInit()
    card: object = pynvml.nvmlDeviceGetHandleByIndex(index)
    return card
