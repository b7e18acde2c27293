"""Notes on Linux programs that read the virtual camera, and on what keeps them from it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from streamcam import v4l2
from streamcam.cli.checks import NOTE, Check
from streamcam.sinks.virtual_camera import OBS_LABEL
from streamcam.v4l2 import kernel_module

SNAPS = ("firefox", "chromium", "brave", "obs-studio", "zoom-client", "discord")
FLATPAKS = (
    *("org.mozilla.firefox", "org.chromium.Chromium", "com.google.Chrome", "com.brave.Browser"),
    *("com.obsproject.Studio", "us.zoom.Zoom", "com.discordapp.Discord"),
)
SNAP_FOLDERS = ("snap/bin", "var/lib/snapd/snap/bin")
FLATPAK_FOLDER = "var/lib/flatpak/exports/bin"


def check_programs(
    devices: Sequence[v4l2.Device],
    environment: Mapping[str, str],
    root: Path = kernel_module.ROOT,
    home: Path | None = None,
) -> Iterator[Check]:
    """Yield notes; nothing is yielded on other systems than Linux.

    Args:
        devices: all video devices.
        environment: variables of this process.
        root: root of the file system.
        home: the user's home folder, if one is known.
    """
    if sys.platform != "linux":
        return
    loopbacks = [device for device in devices if device.is_loopback]
    if not loopbacks and not kernel_module.persistent(root):
        # The check of the module offers it where there is a device.
        text = "the virtual camera is not set up when the system starts"
        yield Check("at start-up", NOTE, text, kernel_module.PERSIST)
    if loopbacks and not any(OBS_LABEL.match(device.name) for device in loopbacks):
        text = 'its "Start Virtual Camera" would take the device of streamcam'
        remedy = f"leave it off, or give it its own: {kernel_module.RELOAD_WITH_OBS}"
        yield Check("OBS", NOTE, text, remedy)
    yield from _sandboxed(root, home)
    if environment.get("XDG_SESSION_TYPE") == "wayland" and loopbacks:
        text = "programs that ask PipeWire for cameras list those that it saw when they appeared"
        remedy = "if streamcam is missing there: systemctl --user restart wireplumber"
        yield Check("Wayland", NOTE, text, remedy)


def _sandboxed(root: Path, home: Path | None) -> Iterator[Check]:
    """Yield a note on each kind of sandbox that a program which reads cameras is installed in."""
    snaps = [name for name in SNAPS if any((root / f / name).exists() for f in SNAP_FOLDERS)]
    if snaps:
        connect = "; ".join(f"sudo snap connect {name}:camera" for name in snaps)
        text = f"{', '.join(snaps)} see no camera unless they may"
        yield Check("Snap", NOTE, text, connect)
    folders = [root / FLATPAK_FOLDER]
    if home is not None:
        folders.append(home / ".local/share/flatpak/exports/bin")
    flatpaks = [name for name in FLATPAKS if any((f / name).exists() for f in folders)]
    if flatpaks:
        allow = "; ".join(f"flatpak override --user --device=all {name}" for name in flatpaks)
        text = f"{', '.join(flatpaks)} see no camera unless they may see devices"
        yield Check("Flatpak", NOTE, text, f"{allow}; then restart them")
