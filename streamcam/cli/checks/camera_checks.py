"""Checks of the cameras."""

from collections.abc import Callable, Sequence

from streamcam.cli.checks import NOTE, OK, WARNING, Check
from streamcam.cli.checks.own_processes import all_ours
from streamcam.sources.camera_list import CameraInfo
from streamcam.v4l2.kernel_module import GROUP

Holders = Callable[[str], Sequence[str]]
"""Takes the path of a device and returns the programs that have it open."""


def check_cameras(cameras: Sequence[CameraInfo], holders: Holders) -> list[Check]:
    """Return a check for each physical camera; a warning where there is none.

    A camera is never `MISSING`, since the demo replaces it.
    """
    physical = [camera for camera in cameras if not camera.virtual]
    if not physical:
        return [
            Check(
                "camera",
                WARNING,
                "none found; the demo, a drawn person, is used instead",
                "plug one in; in a virtual machine or container, pass it through",
            )
        ]
    return [_camera(camera, holders) for camera in physical]


def _camera(camera: CameraInfo, holders: Holders) -> Check:
    if camera.problem is not None:
        remedy = GROUP if "permission" in camera.problem.lower() else "unplug it and plug it in"
        return Check("camera", WARNING, f"{camera}: {camera.problem}", remedy)
    names = holders(str(camera.target)) if isinstance(camera.target, str) else ()
    if all_ours(names):
        return Check("camera", OK, f"{camera}, on air in {', '.join(names)}")
    if names:
        return Check(
            "camera",
            WARNING,
            f"{camera} is open in {', '.join(names)}; only one program at a time can use it",
            "close that program, or choose another camera with --source camera:NAME",
        )
    return Check("camera", OK, str(camera))


def mirror_note() -> Check:
    """Return a note on mirrored self-views, the most frequent question."""
    return Check(
        "mirror",
        NOTE,
        "meeting apps mirror only your own view of yourself; everybody else can read text",
        "if they cannot: --mirror",
    )
