"""List of cameras, and the choice of one by path, number or name."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamcam import v4l2
from streamcam.errors import DeviceError

OWN_LABELS = ("streamcam",)
"""Labels, parts of them or paths of the virtual cameras that streamcam itself writes to."""

VIRTUAL_NAMES = ("virtual", "unity video capture", "ndi video")


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera: users name it by `address`, OpenCV opens `target`."""

    name: str
    address: str
    target: str | int
    stable_path: str | None = None
    """Finds the same camera after it was unplugged and plugged in again."""
    virtual: bool = False
    problem: str | None = None
    """Reason why it cannot be opened, where that is known beforehand."""

    def __str__(self) -> str:
        return f'{self.address} "{self.name}"'


def cameras() -> tuple[CameraInfo, ...]:
    """Return all cameras, including virtual ones, in the system's order."""
    return _linux_cameras() if sys.platform == "linux" else _opencv_cameras()


def first() -> CameraInfo | None:
    """Return the first physical camera, the default source."""
    return next((camera for camera in cameras() if not camera.virtual), None)


def _linux_cameras() -> tuple[CameraInfo, ...]:
    return tuple(
        CameraInfo(
            device.name,
            str(device.path),
            str(device.path),
            str(device.link) if device.link else None,
            device.is_loopback,
            device.problem,
        )
        for device in v4l2.devices()
        if device.captures or device.is_loopback or device.problem
    )


def _opencv_cameras() -> tuple[CameraInfo, ...]:
    from cv2_enumerate_cameras import enumerate_cameras

    return tuple(
        CameraInfo(
            camera.name,
            str(number),
            camera.index,
            camera.path or None,
            any(word in camera.name.lower() for word in VIRTUAL_NAMES),
        )
        for number, camera in enumerate(enumerate_cameras(backend()))
    )


def backend() -> int:
    """Return OpenCV's camera backend for this system."""
    import cv2

    kinds = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
    return kinds.get(sys.platform, cv2.CAP_ANY)


def choose(
    name: str | None, present: Sequence[CameraInfo], own: Collection[str] = OWN_LABELS
) -> CameraInfo:
    """Return the camera meant by `name`: a path, a number, or a part of its name.

    Without a name it is the first physical one. A part of a name means a physical camera before a
    virtual one, and the whole name before a part.

    Raises:
        DeviceError: there is none, or it is one of our `own` virtual cameras.
    """
    if name is None:
        chosen = next((camera for camera in present if not camera.virtual), None)
    else:
        chosen = min(
            (camera for camera in present if _rank(name, camera) is not None),
            key=lambda camera: (_rank(name, camera), camera.virtual),
            default=None,
        )
    if chosen is None:
        missing = "no camera" if name is None else f'no camera "{name}"'
        raise DeviceError(f"{missing}; {_alternatives(present)}")
    if chosen.virtual and any(_is_labelled(label, chosen) for label in own):
        raise DeviceError(
            f"{chosen} is streamcam's own virtual camera, whose output would be its own input;"
            f" {_alternatives(present)}"
        )
    return chosen


def _is_labelled(label: str, camera: CameraInfo) -> bool:
    """Return whether a virtual camera's `label`, part of one or path means `camera`."""
    return label == camera.address or label.casefold() in camera.name.casefold()


def _rank(name: str, camera: CameraInfo) -> int | None:
    """Return how well `name` fits, 0 best; None if not at all."""
    if name.startswith("/"):
        known = {camera.address, camera.stable_path}
        return 0 if name in known or str(Path(name).resolve()) in known else None
    if name.isdecimal():
        return 0 if camera.address.removeprefix("/dev/video") == name else None
    wanted, whole = name.casefold(), camera.name.casefold()
    return None if wanted not in whole else int(wanted != whole)


def _alternatives(present: Sequence[CameraInfo]) -> str:
    physical = [str(camera) for camera in present if not camera.virtual]
    if physical:
        return f"found: {', '.join(physical)}"
    return "none is plugged in; --source demo shows a drawn person"
