"""Checks of the virtual camera, and of the kernel module behind it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from streamcam import v4l2
from streamcam.cli.checks import MISSING, NOTE, OK, WARNING, Check
from streamcam.cli.checks.camera_checks import Holders
from streamcam.cli.checks.own_processes import all_ours
from streamcam.errors import DeviceError
from streamcam.sinks.virtual_camera import INSTALL_HINTS, is_exclusive, not_exclusive, select
from streamcam.v4l2 import kernel_module

NAME, MODULE = "virtual camera", "v4l2loopback"
BACKPORT = (
    "install 0.13 or later; on Debian 12:"
    " echo deb http://deb.debian.org/debian bookworm-backports main"
    " | sudo tee /etc/apt/sources.list.d/backports.list; sudo apt update;"
    " sudo apt install -t bookworm-backports v4l2loopback-dkms"
)


def check_virtual_cameras(
    devices: Sequence[v4l2.Device],
    sinks: Sequence[str],
    holders: Holders,
    root: Path = kernel_module.ROOT,
) -> list[Check]:
    """Return checks of every virtual camera that `sinks` name, and of the module.

    Args:
        devices: all video devices.
        sinks: sinks as in the settings, such as ``("virtual-camera:studio",)``.
        holders: returns the programs that have a device open.
        root: root of the file system.
    """
    if sys.platform != "linux":
        remedy = INSTALL_HINTS.get(sys.platform)
        return [Check(NAME, NOTE, "comes with OBS or Unity Capture on this system", remedy)]
    loopbacks = [device for device in devices if device.is_loopback]
    labels = dict.fromkeys(label for sink in sinks for label in _labels(sink))
    if not loopbacks:
        return [_no_device(root, MISSING if labels else NOTE)]
    cameras = [_virtual_camera(loopbacks, label, holders) for label in labels]
    return [*cameras, *_module(loopbacks, root)]


def _labels(sink: str) -> list[str | None]:
    """Return the label of a virtual camera's sink, in a list; an empty list for other sinks."""
    kind, _, label = sink.partition(":")
    kind = kind.strip().lower().replace("_", "-")
    return [label.strip() or None] if kind in ("auto", "virtual-camera") else []


def _no_device(root: Path, state: str) -> Check:
    if kernel_module.loaded(root):
        text = "v4l2loopback is loaded, but has no device"
        return Check(NAME, state, text, kernel_module.RELOAD)
    state_of_module = (
        "not loaded" if kernel_module.installed(root) else "not installed for this kernel"
    )
    return Check(NAME, state, f"v4l2loopback is {state_of_module}", kernel_module.how_to_load(root))


def _virtual_camera(loopbacks: Sequence[v4l2.Device], label: str | None, holders: Holders) -> Check:
    try:
        device = select(loopbacks, label)
    except DeviceError as error:
        return Check(NAME, MISSING, str(error))
    shown = f'{device.path} "{device.name}"'
    if device.problem is not None:
        remedy = (
            kernel_module.GROUP if "permission" in device.problem.lower() else kernel_module.RELOAD
        )
        return Check(NAME, MISSING, f"{shown}: {device.problem}", remedy)
    names = holders(str(device.path))
    opened = f", open in {', '.join(names)}" if names else ""
    if device.outputs:
        return Check(NAME, OK, f"{shown}, free{opened}")
    if not device.captures:
        return Check(NAME, OK, f"{shown}, left unusable by its last writer; run repairs it")
    if any(all_ours([name]) for name in names):
        return Check(NAME, OK, f"{shown}, on air{opened}")
    return Check(
        NAME,
        WARNING,
        f"{shown} is in use{opened}",
        "stop the program that writes to it: a device takes one writer",
    )


def _module(loopbacks: Sequence[v4l2.Device], root: Path) -> list[Check]:
    version = kernel_module.version(root)
    checks = [Check(MODULE, OK, f"version {version}")]
    if version is None:
        text = (
            "before 0.13: once a writer has stopped, only streamcam can write to the device again,"
            " and while a reader stays, the size cannot change"
        )
        checks = [Check(MODULE, WARNING, text, BACKPORT)]
    for device in loopbacks:
        if not is_exclusive(device, root):
            checks.append(Check(MODULE, WARNING, not_exclusive(device), kernel_module.RELOAD))
    if not kernel_module.persistent(root):
        checks.append(
            Check(MODULE, NOTE, "not loaded when the system starts", kernel_module.PERSIST)
        )
    return checks
