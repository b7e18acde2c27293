"""Memory and power of the engine's NVIDIA GPU, read through NVML without torch."""

import threading
from collections.abc import Callable
from contextlib import suppress

from streamcam.system.supervised_thread import SupervisedThread

INTERVAL_S = 1.0


class GpuStats:
    """Read memory and power once a second, in a thread: a driver in trouble may not answer.

    Args:
        uuid: returns the UUID of the GPU, as NVML writes it; "" while none is known.
    """

    def __init__(self, uuid: Callable[[], str]) -> None:
        self.memory: float | None = None
        """Bytes in use; None while they cannot be read."""
        self.power: float | None = None
        """Watts; None while they cannot be read."""
        self._uuid = uuid
        self._stopping = threading.Event()
        self._thread = SupervisedThread("gpu", self._read, self._stopping)

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End the thread soon; returns at once, as the driver may never answer."""
        self._stopping.set()

    def _read(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            if uuid := self._uuid():
                self.memory, self.power = read_gpu(uuid)


def read_gpu(uuid: str) -> tuple[float | None, float | None]:
    """Return bytes of memory in use, and watts; None for what the GPU `uuid` does not report."""
    import pynvml

    memory = power = None
    with suppress(pynvml.NVMLError):
        handle = nvml_handle(uuid)
        memory = float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        power = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return memory, power


def nvml_handle(uuid: str) -> object:
    """Return NVML's handle of a GPU, or of a part of one.

    Its number would not do: torch counts what ``CUDA_VISIBLE_DEVICES`` leaves, fastest first.

    Raises:
        pynvml.NVMLError: there is no such GPU.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        handle: object = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-"))
    return handle
