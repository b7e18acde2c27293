"""Virtual camera that meeting apps, browsers and OBS read.

On Linux a v4l2loopback device, found by its label. On macOS and Windows OBS's or Unity Capture,
through pyvirtualcam, which is under the GPL: it is imported only here, and only on those.
"""

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamcam import pixels, v4l2
from streamcam.errors import DeviceError
from streamcam.sinks.v4l2_loopback import LoopbackWriter, explain_refusal
from streamcam.types import Bytes, Frame, Image
from streamcam.v4l2 import kernel_module

log = logging.getLogger(__name__)

OBS_LABEL = re.compile(r"obs\b", re.IGNORECASE)
"""Labels such as "OBS Virtual Camera": OBS itself writes to those."""

INSTALL_HINTS = {
    "darwin": "install OBS 30 or later, open it, press Start Virtual Camera once, then Stop",
    "win32": "install OBS, which brings its virtual camera, or Unity Capture",
}


class CameraBackend(Protocol):
    """Common interface of `streamcam.sinks.v4l2_loopback` and pyvirtualcam."""

    def send(self, frame: NDArray[np.uint8], /) -> None: ...
    def close(self) -> None: ...


class VirtualCamera:
    """A sink for frames of the size of the canvas.

    Args:
        label: of the loopback device, whole or in part, or its path; None takes the one
            labelled "streamcam", else the first that is not OBS's. On macOS and Windows the name
            of the camera as pyvirtualcam lists it.
        canvas: (width, height) of every frame.
        fps: frames per second announced to readers.
        pixel_format: one of `pixels.FORMATS`. On macOS and Windows it is always RGB.

    Raises:
        DeviceError: on entering: there is none, or it is busy, forbidden or held at another
            format; on sending: it is gone.
    """

    def __init__(
        self, label: str | None, canvas: tuple[int, int], fps: float, pixel_format: str
    ) -> None:
        self._label = label
        self._canvas, self._fps = canvas, fps
        self._format = pixel_format if sys.platform == "linux" else "rgb"
        self._convert = pixels.FORMATS[self._format]
        self._backend: CameraBackend | None = None
        self._warned = False
        self._image: Image | None = None
        self._packed: Bytes = np.empty(0, np.uint8)

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            device = find(self._label)
            self._backend = LoopbackWriter(
                device.path, self._canvas, fps=self._fps, pixel_format=self._format
            )
            log.info('virtual camera %s "%s", %s', device.path, device.name, self._format)
            self._warn_of_hidden_camera(device)
        else:
            self._backend = open_pyvirtualcam(self._label, self._canvas, self._fps)
        return self

    def send(self, frame: Frame) -> None:
        assert self._backend is not None, "send() outside of the with block"
        if frame.image is not self._image:  # A repeated image is converted once.
            packed = None if self._format == "rgb" else frame.packed
            self._image = frame.image
            self._packed = self._convert(frame.image) if packed is None else packed
        self._backend.send(self._packed)

    def _warn_of_hidden_camera(self, device: v4l2.Device) -> None:
        # Once: a sink that fails is entered again and again.
        if not self._warned and not is_exclusive(device):
            log.warning("%s; to change that: %s", not_exclusive(device), kernel_module.RELOAD)
            self._warned = True

    def __exit__(self, *exception: object) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def open_pyvirtualcam(name: str | None, canvas: tuple[int, int], fps: float) -> CameraBackend:
    """Open the virtual camera of macOS or Windows, which accepts RGB.

    Raises:
        DeviceError: there is none, or it is in use.
    """
    import pyvirtualcam

    try:
        backend: CameraBackend = pyvirtualcam.Camera(*canvas, fps, device=name)
    except RuntimeError as error:
        # The error has one line for each backend that was tried.
        reasons = "; ".join(str(error).splitlines())
        hint = INSTALL_HINTS.get(sys.platform, "none is known for this system")
        raise DeviceError(f"no virtual camera: {reasons}; {hint}") from None
    return backend


def find(label: str | None = None) -> v4l2.Device:
    """Return the loopback device that `label` means; for None see `VirtualCamera`.

    Raises:
        DeviceError: there is none at all, none of that name, or several.
    """
    loopbacks = [device for device in v4l2.devices() if device.is_loopback]
    if not loopbacks:
        state = "has no device" if kernel_module.loaded() else "is not loaded"
        raise DeviceError(f"no virtual camera: v4l2loopback {state}; {kernel_module.how_to_load()}")
    return select(loopbacks, label)


def select(loopbacks: Sequence[v4l2.Device], label: str | None) -> v4l2.Device:
    """Return the one of `loopbacks` that `label` means; see `find`."""
    if label is None:
        return _default(loopbacks)
    return _by_path(label) if label.startswith("/") else _by_label(loopbacks, label)


def _by_path(path: str) -> v4l2.Device:
    try:
        found = v4l2.device(path)
    except OSError as error:
        raise explain_refusal(path, error) from None
    if not found.is_loopback:
        raise DeviceError(f'{path} is "{found.name}", which is not a v4l2loopback device')
    return found


def _by_label(loopbacks: Sequence[v4l2.Device], label: str) -> v4l2.Device:
    """Return the one device whose label is `label`, else the one whose label contains it."""
    wanted = label.casefold()
    whole = [device for device in loopbacks if device.name.casefold() == wanted]
    found = whole or [device for device in loopbacks if wanted in device.name.casefold()]
    if not found:
        raise DeviceError(f'no virtual camera "{label}"; found: {_listed(loopbacks)}')
    if len(found) > 1:
        raise DeviceError(f'several virtual cameras "{label}": {_listed(found)}; give the path')
    return found[0]


def _default(loopbacks: Sequence[v4l2.Device]) -> v4l2.Device:
    """Return ours, else the first that is not OBS's; one that can be opened goes first."""
    own = [device for device in loopbacks if device.name.casefold() == kernel_module.LABEL]
    candidates = own or [device for device in loopbacks if not OBS_LABEL.match(device.name)]
    if not candidates:
        raise DeviceError(
            f"the only virtual camera is OBS's own, {_listed(loopbacks)}; load another one:"
            f" {kernel_module.RELOAD} (OBS closed), or ask for it by name"
        )
    return min(candidates, key=lambda device: device.problem is not None)


def _listed(loopbacks: Sequence[v4l2.Device]) -> str:
    return ", ".join(f'{device.path} "{device.name}"' for device in loopbacks)


def is_exclusive(device: v4l2.Device, root: Path = kernel_module.ROOT) -> bool:
    """Return whether `device` was created with ``exclusive_caps=1``; True if that is unknown.

    The module's options are lists with one entry per device, found by its number.
    """
    options = kernel_module.options(root)
    numbers = options.get("video_nr", "").split(",")
    flags = options.get("exclusive_caps", "").split(",")
    number = device.path.name.removeprefix("video")
    if number in numbers and len(flags) > numbers.index(number):
        return flags[numbers.index(number)] in ("Y", "1")
    return not (device.captures and device.outputs)


def not_exclusive(device: v4l2.Device) -> str:
    """Return the consequence of a `device` that is not `is_exclusive`, in a line."""
    return f"{device.path} has exclusive_caps=0: Chrome, Zoom and others do not list it"
