"""State of the v4l2loopback kernel module, and the commands that install and load it.

Everything is read below `root`, the root of the file system.
"""

import platform
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
NAME = "v4l2loopback"
LABEL = "streamcam"
OPTIONS = f"devices=1 video_nr=10 card_label={LABEL} exclusive_caps=1 max_buffers=2"
MODPROBE = f"sudo modprobe {NAME} {OPTIONS}"
RELOAD = f"sudo modprobe -r {NAME} && {MODPROBE}"
RELOAD_WITH_OBS = (
    f"sudo modprobe -r {NAME} && sudo modprobe {NAME} devices=2 video_nr=10,11"
    f' card_label={LABEL},"OBS Virtual Camera" exclusive_caps=1,1 max_buffers=2'
)
PERSIST = (
    f"echo {NAME} | sudo tee /etc/modules-load.d/{NAME}.conf;"
    f" echo options {NAME} {OPTIONS} | sudo tee /etc/modprobe.d/{NAME}.conf"
)
GROUP = "sudo usermod -aG video $USER, then log out and in again"

INSTALL = {
    "debian": f"sudo apt install {NAME}-dkms linux-headers-$(uname -r)",
    "raspbian": f"sudo apt install {NAME}-dkms",
    "ubuntu": f"sudo apt install {NAME}-dkms",
    "fedora": f"sudo dnf install akmod-{NAME} (from RPM Fusion)",
    "arch": f"sudo pacman -S {NAME}-dkms linux-headers",
    "suse": f"sudo zypper install {NAME}-kmp-default",
    "nixos": f"boot.extraModulePackages = [ config.boot.kernelPackages.{NAME} ];",
}
INSTALL_ANYWHERE = f"install the package {NAME}-dkms (Fedora: akmod-{NAME})"

SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
MOK = (
    "Secure Boot is on and refuses modules that are not signed:"
    " sudo mokutil --import /var/lib/dkms/mok.pub (Ubuntu: /var/lib/shim-signed/mok/MOK.der),"
    ' restart, and choose "Enroll MOK"'
)


def loaded(root: Path = ROOT) -> bool:
    """Return whether the module is loaded."""
    return _parameters(root).is_dir()


def installed(root: Path = ROOT) -> bool:
    """Return whether the running kernel can load the module."""
    modules = root / "lib/modules" / platform.release()
    with suppress(OSError):
        return f"/{NAME}.ko" in (modules / "modules.dep").read_text(errors="replace")
    return False


def version(root: Path = ROOT) -> str | None:
    """Return the loaded module's version; None before 0.13, which does not report it."""
    return _read(_parameters(root).parent / "version")


def options(root: Path = ROOT) -> dict[str, str]:
    """Return the options of the loaded module, as ``{"exclusive_caps": "Y,N,N,N,N,N,N,N"}``."""
    with suppress(OSError):
        found = {file.name: _read(file) for file in sorted(_parameters(root).iterdir())}
        return {name: value for name, value in found.items() if value is not None}
    return {}


def persistent(root: Path = ROOT) -> bool:
    """Return whether the module is loaded when the system starts."""
    folders = [root / part / "modules-load.d" for part in ("etc", "run", "usr/lib")]
    files = [root / "etc/modules", *(file for folder in folders for file in folder.glob("*.conf"))]
    lines = [line.strip() for file in files for line in (_read(file) or "").splitlines()]
    return any(line.split()[:1] == [NAME] for line in lines)


def secure_boot(root: Path = ROOT) -> bool | None:
    """Return whether the firmware checks signatures; None where it does not report it."""
    with suppress(OSError):
        # Four bytes of attributes come before the value.
        return (root / SECURE_BOOT).read_bytes()[4:5] == b"\1"
    return None


def how_to_load(root: Path = ROOT) -> str:
    """Return the commands that load the module on this system."""
    steps = [MODPROBE] if installed(root) else [install_command(root), MODPROBE]
    if secure_boot(root):
        steps.append(MOK)
    return "; then: ".join(steps)


def install_command(root: Path = ROOT) -> str:
    """Return the command that installs the module on this distribution."""
    return next(
        (INSTALL[name] for name in _distribution(root) if name in INSTALL), INSTALL_ANYWHERE
    )


def _distribution(root: Path) -> list[str]:
    """Return os-release's name of the system and of those it derives from, nearest first."""
    lines = (_read(root / "etc/os-release") or "").splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return " ".join(fields.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")).split()


def _parameters(root: Path) -> Path:
    return root / "sys/module" / NAME / "parameters"


def _read(file: Path) -> str | None:
    with suppress(OSError):
        return file.read_text(errors="replace").strip()
    return None
