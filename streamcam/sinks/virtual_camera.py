"""The virtual camera that meeting apps, browsers and OBS see.

On Linux a v4l2loopback device, found by its label. On macOS and Windows OBS's or Unity Capture,
through pyvirtualcam, which is under the GPL: nothing else imports it, and this only there.
"""

import logging
import re
import sys
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamcam import pixels, v4l2
from streamcam.errors import DeviceError
from streamcam.sinks.loopback import LoopbackWriter, refused
from streamcam.types import Bytes, Frame, Image
from streamcam.v4l2 import kernel_module

log = logging.getLogger(__name__)

FOREIGN = re.compile(r"obs\b", re.IGNORECASE)
"""Labels such as "OBS Virtual Camera": OBS itself writes to those."""


INSTALL_HINTS = {
    "darwin": "install OBS 30 or later, open it, press Start Virtual Camera once, then Stop",
    "win32": "install OBS, which brings its virtual camera, or Unity Capture",
}


class Camera(Protocol):
    """What `streamcam.sinks.loopback` and pyvirtualcam have in common."""

    def send(self, frame: NDArray[np.uint8], /) -> None: ...
    def close(self) -> None: ...


class VirtualCamera:
    """A sink for frames of the canvas's size.

    Args:
        label: of the loopback device, whole or in part, or its path; None takes the one
            labelled "streamcam", else the first that is not OBS's. Elsewhere than on Linux the
            name of the camera as pyvirtualcam has it.
        canvas: (width, height) of every frame.
        fps: frames per second that readers are told.
        pixel_format: one of `pixels.FORMATS`. Elsewhere than on Linux the system decides.

    Raises:
        DeviceError: on entering: none is there, or it is busy, forbidden or held at another
            format; on sending: it is gone.
    """

    def __init__(
        self, label: str | None, canvas: tuple[int, int], fps: float, pixel_format: str
    ) -> None:
        self._label = label
        self._canvas, self._fps = canvas, fps
        self._format = pixel_format if sys.platform == "linux" else "rgb"
        self._convert = pixels.FORMATS[self._format]
        self._camera: Camera | None = None
        self._image: Image | None = None
        self._packed: Bytes = np.empty(0, np.uint8)

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            found = find(self._label)
            self._camera = LoopbackWriter(
                found.path, self._canvas, fps=self._fps, pixel_format=self._format
            )
            log.info('virtual camera %s "%s", %s', found.path, found.name, self._format)
        else:
            self._camera = open_pyvirtualcam(self._label, self._canvas, self._fps)
        return self

    def send(self, frame: Frame) -> None:
        assert self._camera is not None, "send() outside of the with block"
        if frame.image is not self._image:  # A picture that is repeated is converted once.
            ready = None if self._format == "rgb" else frame.packed
            self._image = frame.image
            self._packed = self._convert(frame.image) if ready is None else ready
        self._camera.send(self._packed)

    def __exit__(self, *exception: object) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def open_pyvirtualcam(name: str | None, canvas: tuple[int, int], fps: float) -> Camera:
    """Return the virtual camera of macOS or Windows, which takes RGB.

    Raises:
        DeviceError: there is none, or it is in use.
    """
    import pyvirtualcam

    try:
        camera: Camera = pyvirtualcam.Camera(*canvas, fps, device=name)
    except RuntimeError as error:
        # It holds the reason of each kind of camera that was tried, in a line of its own.
        reasons = "; ".join(str(error).splitlines())
        remedy = INSTALL_HINTS.get(sys.platform, "there is none known for this system")
        raise DeviceError(f"no virtual camera: {reasons}; {remedy}") from None
    return camera


def find(label: str | None = None) -> v4l2.Device:
    """Return the loopback device that `label` means; for None see `VirtualCamera`.

    Raises:
        DeviceError: there is none, none of that name, or several.
    """
    loopbacks = [device for device in v4l2.devices() if device.is_loopback]
    if not loopbacks:
        state = "has no device" if kernel_module.loaded() else "is not loaded"
        raise DeviceError(f"no virtual camera: v4l2loopback {state}; {kernel_module.how_to_load()}")
    return select(loopbacks, label)


def select(loopbacks: Sequence[v4l2.Device], label: str | None) -> v4l2.Device:
    """Return the one of `loopbacks` that `label` means; see `find`."""
    if label is None:
        return _usual(loopbacks)
    return _at(label) if label.startswith("/") else _labelled(loopbacks, label)


def _at(path: str) -> v4l2.Device:
    try:
        found = v4l2.device(path)
    except OSError as error:
        raise refused(path, error) from None
    if not found.is_loopback:
        raise DeviceError(f'{path} is "{found.name}", which is no v4l2loopback device')
    return found


def _labelled(loopbacks: Sequence[v4l2.Device], label: str) -> v4l2.Device:
    """Return the one device whose label is `label`, else the one whose label holds it."""
    wanted = label.casefold()
    whole = [device for device in loopbacks if device.name.casefold() == wanted]
    found = whole or [device for device in loopbacks if wanted in device.name.casefold()]
    if not found:
        raise DeviceError(f'no virtual camera "{label}"; found: {_listed(loopbacks)}')
    if len(found) > 1:
        raise DeviceError(f'several virtual cameras "{label}": {_listed(found)}; give the path')
    return found[0]


def _usual(loopbacks: Sequence[v4l2.Device]) -> v4l2.Device:
    """Return ours, else the first that is not OBS's; one that may be opened before others."""
    own = [device for device in loopbacks if device.name.casefold() == kernel_module.LABEL]
    candidates = own or [device for device in loopbacks if not FOREIGN.match(device.name)]
    if not candidates:
        raise DeviceError(
            f"the only virtual camera is OBS's own, {_listed(loopbacks)}; load one more:"
            f" {kernel_module.RELOAD} (OBS closed), or ask for it by name"
        )
    return min(candidates, key=lambda device: device.problem is not None)


def _listed(loopbacks: Sequence[v4l2.Device]) -> str:
    return ", ".join(f'{device.path} "{device.name}"' for device in loopbacks)
