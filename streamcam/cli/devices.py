"""``streamcam devices``: list cameras, virtual cameras, MIDI inputs, GPUs and CPU."""

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
from streamcam.cli.checks.own_processes import named_holders
from streamcam.cli.hardware import Accelerator, CpuInfo, accelerators, cpu_info
from streamcam.control.midi.midi_backend import input_names, load_backend, title_of
from streamcam.errors import StreamcamError, printable
from streamcam.sources.camera_list import CameraInfo, cameras
from streamcam.sources.camera_modes import PREFERRED
from streamcam.v4l2 import kernel_module

Row = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def devices(as_json: bool) -> None:
    """Show the cameras, virtual cameras, MIDI inputs, GPUs and CPU."""
    listed = cameras()
    physical = [_camera(camera) for camera in listed if not camera.virtual]
    virtual = [_virtual(camera) for camera in listed if camera.virtual]
    controllers, midi_problem = _midi_inputs()
    gpus, cpu = accelerators(), cpu_info()
    if as_json:
        table = {
            "cameras": physical,
            "virtual_cameras": virtual,
            "midi": {"inputs": controllers, "problem": midi_problem},
            "accelerators": list(map(asdict, gpus)),
            "processor": asdict(cpu),
        }
        click.echo(json.dumps(table))
        return
    console = Console()
    _print(console, "cameras", map(_camera_line, physical))
    _print(console, "virtual cameras", map(_virtual_line, virtual))
    _print(console, "MIDI inputs", [(name,) for name in controllers] or [(midi_problem,)])
    _print(console, "GPUs", map(_gpu_line, gpus))
    _print(console, "CPU", [_cpu_line(cpu)])


def _midi_inputs() -> tuple[list[str], str]:
    """Return the names for ``--midi``, or why there are none."""
    try:
        names = input_names(load_backend())
    except StreamcamError as error:
        return [], str(error)
    return list(map(title_of, names)), "" if names else "none found"


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
    """Return the modes of the camera that streamcam can read; none where the system has no list."""
    if camera.problem or not str(camera.target).startswith("/dev/"):
        return []
    try:
        with v4l2.opened(camera.address) as fd:
            return [mode for mode in v4l2.modes(fd) if mode.fourcc in PREFERRED]
    except OSError:
        # Unplugged in the meantime: it is listed without formats.
        return []


def _virtual(camera: CameraInfo) -> Row:
    is_node = str(camera.target).startswith("/dev/")
    return {
        "name": camera.name,
        "address": camera.address,
        "problem": camera.problem,
        "version": kernel_module.version() if is_node else None,
        "format": (v4l2.attribute(camera.address, "format") or None) if is_node else None,
        "used_by": named_holders(camera.address) if is_node else (),
    }


def _print(console: Console, title: str, lines: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for line in list(lines) or [("none found",)]:
        # Devices say themselves what they are called.
        table.add_row(*(escape(printable(cell)) for cell in line))
    console.print(title, table, sep="\n", highlight=False)


def _camera_line(row: Row) -> tuple[str, ...]:
    return row["address"], row["name"], row["problem"] or _formats(row["formats"])


def _formats(formats: list[Row]) -> str:
    """Return one line for each list of sizes, with the formats that share it."""
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


def _gpu_line(gpu: Accelerator) -> tuple[str, ...]:
    memory = f"{gpu.memory / 2**30:.0f} GiB, {gpu.free / 2**30:.0f} free"
    return gpu.name, gpu.problem or f"{memory}, driver {gpu.driver}"


def _cpu_line(cpu: CpuInfo) -> tuple[str, ...]:
    features = f", {' '.join(cpu.features)}" if cpu.features else ""
    memory = f"{cpu.memory / 2**30:.0f} GiB"
    return cpu.name, f"{cpu.threads} threads on {cpu.cores} cores{features}, {memory}"
