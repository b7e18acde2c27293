"""What it runs on: accelerator, packages, models, disk and ports."""

import platform
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from streamcam.cli.checks import MISSING, NOTE, OK, WARNING, Check
from streamcam.cli.hardware import Accelerator, Processor

OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
SHOWN = ("streamcam", "torch", "diffusers", "opencv-python-headless", "numpy")
ROOM_FOR_MODELS, ROOM_FOR_FILES = 10e9, 1e9
"""Bytes. A model takes 2 to 7 GB, a minute of recording some 50 MB."""
CPU_REMEDY = (
    "live pictures from large models need an NVIDIA GPU; on a processor run --model nano, or"
    " small sizes"
)


def accelerator(cards: Sequence[Accelerator], here: Processor, torch: str | None) -> Check:
    """Return the graphics processors; else a note on what there is instead.

    Args:
        cards: all that a model can run on.
        here: the processor, which serves where there is no card.
        torch: version of the package, which tells builds without CUDA.
    """
    shown = "; ".join(map(_card, cards))
    if any(card.problem for card in cards):
        remedy = "install the driver anew, and restart"
        return Check("accelerator", WARNING, shown, remedy)
    if cards and sys.platform != "darwin" and torch is not None and "+cpu" in torch:
        remedy = "install torch for CUDA, as its home page says"
        return Check("accelerator", WARNING, f"{shown}; but torch {torch} cannot use it", remedy)
    if cards:
        return Check("accelerator", OK, shown)
    text = f"no NVIDIA GPU; {here.name}, {here.cores} cores: seconds for a picture of 512x512"
    return Check("accelerator", NOTE, text, CPU_REMEDY)


def _card(card: Accelerator) -> str:
    if card.problem:
        return f"{card.name}: {card.problem}"
    free, total = card.free / 2**30, card.memory / 2**30
    return f"{card.name}, {free:.1f} of {total:.1f} GiB free, driver {card.driver}"


def packages(versions: Mapping[str, str]) -> list[Check]:
    """Return Python's and the packages' versions, and whether they get in each other's way.

    Args:
        versions: of all installed packages, by name.
    """
    shown = [f"{name} {versions[name]}" for name in SHOWN if name in versions]
    checks = [Check("packages", OK, ", ".join([f"Python {platform.python_version()}", *shown]))]
    several = [name for name in OPENCV if name in versions]
    if len(several) > 1:
        text = f"{' and '.join(several)} overwrite each other's files"
        remedy = f"pip uninstall -y {' '.join(several)}; pip install opencv-python-headless"
        checks.append(Check("packages", MISSING, text, remedy))
    return checks


def models(cached: Sequence[tuple[str, int]]) -> Check:
    """Return what the cache holds, given as (name, bytes)."""
    if not cached:
        pull = "streamcam models pull stabilityai/sd-turbo"
        return Check(
            "models",
            OK,
            "nano, which comes with streamcam, alone: for looks by name",
            pull,
        )
    listed = ", ".join(name for name, _ in cached)
    return Check("models", OK, f"{listed}; {sum(size for _, size in cached) / 1e9:.1f} GB")


def disk(folder: Path, least: float, purpose: str) -> Check:
    """Return the room for `purpose` in `folder`, which need not exist yet; `least` is in bytes."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free for {purpose} in {folder}"
    if free < least:
        return Check("disk", WARNING, text, f"make room: {least / 1e9:.0f} GB are wanted")
    return Check("disk", OK, text)


def port(name: str, kind: socket.SocketKind, address: str, number: int) -> Check:
    """Return whether the port can be bound.

    Args:
        name: of the setting, such as ``osc_port``.
        kind: SOCK_DGRAM for UDP, SOCK_STREAM for TCP.
        address: to bind to.
        number: of the port; 0 means any.
    """
    shown = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} {address}:{number}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, kind)) as probe:
        if kind == socket.SOCK_STREAM and sys.platform != "win32":
            # As servers do: connections of an earlier run that linger are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, number))
        except OSError as error:
            text = f"{shown} cannot be had: {error.strerror}"
            remedy = f"if that is not streamcam itself, choose another: --set {name}=NUMBER"
            return Check(name, WARNING, text, remedy)
    return Check(name, OK, f"{shown} is free")
