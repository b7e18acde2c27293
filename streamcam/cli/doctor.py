"""``streamcam doctor``: check this machine, and print a remedy for each problem."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from streamcam import v4l2
from streamcam.cli.checks import MISSING, NOTE, OK, WARNING, Check, machine_checks
from streamcam.cli.checks.camera_checks import check_cameras, mirror_note
from streamcam.cli.checks.own_processes import named_holders
from streamcam.cli.checks.program_checks import check_programs
from streamcam.cli.checks.virtual_camera_checks import check_virtual_cameras
from streamcam.cli.hardware import accelerators, cpu_info
from streamcam.cli.options import configured, settings
from streamcam.errors import printable
from streamcam.runtime.device_presence import device_kind
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config

MARKS = {OK: "✓", NOTE: "·", WARNING: "!", MISSING: "✗"}
ASCII_MARKS = {OK: "+", NOTE: ".", WARNING: "!", MISSING: "x"}
STYLES = {OK: "green", NOTE: "dim", WARNING: "yellow", MISSING: "red"}


@click.command(options_metavar="[OPTIONS]")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@settings(BroadcastSettings)
def doctor(
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Check cameras, virtual camera, GPU, models, ports and disk.

    Give the settings that you will run with. Every problem is shown with a remedy. The exit code
    is 1 if something that is needed is missing.
    """
    checks = list(_checks(configured(presets, assignments, flags)))
    healthy = all(check.state != MISSING for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": list(map(asdict, checks))}, indent=2))
    else:
        _print(checks)
    if not healthy:
        sys.exit(1)


def _checks(config: Config) -> Iterator[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from streamcam.models.hub_cache import cached_models
    from streamcam.sources.camera_list import cameras

    settings = config.broadcast
    yield from check_cameras(cameras(), named_holders)
    devices = v4l2.devices()
    yield from check_virtual_cameras(devices, settings.sink, named_holders)
    yield from check_programs(devices, os.environ, home=_home())
    versions = {package.name.lower(): package.version for package in distributions()}
    yield machine_checks.accelerator(accelerators(), cpu_info(), versions.get("torch"))
    cached = [(repo.id, repo.bytes) for repo in cached_models()]
    yield machine_checks.models(cached, gpu=device_kind(config.device) != "cpu")
    yield machine_checks.disk(Path(HF_HUB_CACHE), machine_checks.BYTES_FOR_MODELS, "models")
    yield machine_checks.disk(_here(), machine_checks.BYTES_FOR_RECORDINGS, "recordings")
    if settings.osc:
        yield machine_checks.port(
            "osc_port", socket.SOCK_DGRAM, settings.osc_bind, settings.osc_port
        )
    yield machine_checks.port(
        "preview_port", socket.SOCK_STREAM, settings.web_bind, settings.preview_port
    )
    yield from machine_checks.packages(versions)
    yield mirror_note()


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _here() -> Path:
    """Return the current folder; by its relative name where it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def _print(checks: list[Check]) -> None:
    # Lines are not wrapped, so that remedies can be copied.
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(check.name) for check in checks)
    marks, arrow = (MARKS, "→") if _can_print_marks(console.encoding) else (ASCII_MARKS, ">")
    for check in checks:
        mark = f"[{STYLES[check.state]}]{marks[check.state]}[/]"
        console.print(f"{mark} {check.name:{width}}  {escape(printable(check.text))}")
        if check.remedy:
            console.print(f"  {'':{width}}  [bold]{arrow}[/] {escape(printable(check.remedy))}")


def _can_print_marks(encoding: str) -> bool:
    try:
        "".join([*MARKS.values(), "→"]).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
