"""``streamcam devices``: the cameras, virtual cameras and accelerators of this machine."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamcam import v4l2
from streamcam.cli.hardware import Accelerator, Processor, accelerators, processor
from streamcam.sources.camera_list import CameraInfo, cameras
from streamcam.sources.camera_modes import PREFERRED
from streamcam.v4l2 import kernel_module

Row = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def devices(as_json: bool) -> None:
    """Show the cameras, virtual cameras and accelerators of this machine."""
    found = cameras()
    physical = [_camera(camera) for camera in found if not camera.virtual]
    virtual = [_virtual(camera) for camera in found if camera.virtual]
    cards, cpu = accelerators(), processor()
    if as_json:
        told = {"cameras": physical, "virtual_cameras": virtual}
        machine = {"accelerators": list(map(asdict, cards)), "processor": asdict(cpu)}
        click.echo(json.dumps(told | machine))
        return
    console = Console()
    _print(console, "cameras", map(_camera_line, physical))
    _print(console, "virtual cameras", map(_virtual_line, virtual))
    _print(console, "accelerators", map(_card_line, cards))
    _print(console, "processor", [_processor_line(cpu)])


def _camera(camera: CameraInfo) -> Row:
    modes = _modes(camera)
    return {
        "name": camera.name,
        "address": camera.address,
        "lasting": camera.stable_path,
        "problem": camera.problem,
        "formats": [
            {
                "fourcc": mode.fourcc,
                "least": mode.min_size,
                "most": mode.max_size,
                "fps": float(mode.rates[0]) if mode.rates else None,
            }
            for mode in modes
        ],
    }


def _modes(camera: CameraInfo) -> list[v4l2.Mode]:
    """Return what the camera gives that can be read; where the system tells."""
    if camera.problem or not str(camera.target).startswith("/dev/"):
        return []
    try:
        with v4l2.opened(camera.address) as fd:
            return [mode for mode in v4l2.modes(fd) if mode.fourcc in PREFERRED]
    except OSError:
        # Unplugged while it was asked: it is listed without formats.
        return []


def _virtual(camera: CameraInfo) -> Row:
    known = str(camera.target).startswith("/dev/")
    return {
        "name": camera.name,
        "address": camera.address,
        "problem": camera.problem,
        "version": kernel_module.version() if known else None,
        "format": (v4l2.attribute(camera.address, "format") or None) if known else None,
        "used_by": v4l2.holders(camera.address) if known else (),
    }


def _print(console: Console, title: str, lines: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for line in list(lines) or [("none found",)]:
        table.add_row(*map(escape, line))
    console.print(title, table, sep="\n", highlight=False)


def _camera_line(row: Row) -> tuple[str, ...]:
    return row["address"], row["name"], row["problem"] or _formats(row["formats"])


def _formats(formats: list[Row]) -> str:
    """Return a line for every list of sizes, with the formats that share it."""
    lists: dict[str, list[str]] = {}
    for fourcc, modes in groupby(formats, lambda mode: mode["fourcc"]):
        lists.setdefault("  ".join(map(_size, modes)), []).append(fourcc)
    return "\n".join(f"{' '.join(names)}: {sizes}" for sizes, names in lists.items())


def _size(mode: Row) -> str:
    min_size, max_size = ("x".join(map(str, mode[end])) for end in ("least", "most"))
    size = max_size if min_size == max_size else f"{min_size} to {max_size}"
    return f"{size}@{mode['fps']:.4g}" if mode["fps"] else size


def _virtual_line(row: Row) -> tuple[str, ...]:
    version = f"v4l2loopback {row['version']}" if row["version"] else ""
    users = f"open in {', '.join(row['used_by'])}" if row["used_by"] else ""
    state = ", ".join(filter(None, (version, row["format"], users, row["problem"])))
    return row["address"], row["name"], state or "idle"


def _card_line(card: Accelerator) -> tuple[str, ...]:
    memory = f"{card.memory / 2**30:.0f} GiB, {card.free / 2**30:.0f} free"
    return card.name, card.problem or f"{memory}, driver {card.driver}"


def _processor_line(cpu: Processor) -> tuple[str, ...]:
    features = f", {' '.join(cpu.features)}" if cpu.features else ""
    memory = f"{cpu.memory / 2**30:.0f} GiB"
    return cpu.name, f"{cpu.threads} threads on {cpu.cores} cores{features}, {memory}"
