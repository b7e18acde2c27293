"""What comes in: the cameras."""

from collections.abc import Callable, Sequence

from streamcam.cli.checks import NOTE, OK, WARNING, Check
from streamcam.sources.camera_list import CameraInfo
from streamcam.v4l2.kernel_module import GROUP

Holders = Callable[[str], Sequence[str]]
"""Takes a device's path and returns who has it open."""


def cameras(found: Sequence[CameraInfo], holders: Holders) -> list[Check]:
    """Return a check for each physical camera; a warning where there is none.

    None is needed, since the demo stands in for it.
    """
    physical = [camera for camera in found if not camera.virtual]
    if not physical:
        return [
            Check(
                "camera",
                WARNING,
                "none found; the demo, a drawn person, stands in for it",
                "plug one in; in a virtual machine or container, pass it through",
            )
        ]
    return [_camera(camera, holders) for camera in physical]


def _camera(camera: CameraInfo, holders: Holders) -> Check:
    if camera.problem is not None:
        remedy = GROUP if "permission" in camera.problem.lower() else "unplug it and plug it in"
        return Check("camera", WARNING, f"{camera}: {camera.problem}", remedy)
    names = holders(str(camera.target)) if isinstance(camera.target, str) else ()
    if names:
        return Check(
            "camera",
            WARNING,
            f"{camera} is open in {', '.join(names)}; only one program gets pictures from it",
            "close that program, or choose another camera with --source camera:NAME",
        )
    return Check("camera", OK, str(camera))


def mirrored() -> Check:
    """Say why one sees oneself mirrored: asked more often than anything else."""
    return Check(
        "mirror",
        NOTE,
        "meeting apps mirror what you see of yourself; others see writing the right way round",
        "where they do not: --mirror",
    )
