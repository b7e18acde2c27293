"""Checks of the GPU, packages, models, disk and ports."""

import errno
import platform
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from streamcam.cli.checks import MISSING, NOTE, OK, WARNING, Check
from streamcam.cli.checks.own_processes import all_ours, port_owner
from streamcam.cli.hardware import Accelerator, CpuInfo
from streamcam.system.network import endpoint

OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
LISTED_PACKAGES = ("streamcam", "torch", "diffusers", "opencv-python-headless", "numpy")
BYTES_FOR_MODELS, BYTES_FOR_RECORDINGS = 10e9, 1e9
"""A model takes 2 to 7 GB, a minute of recording about 50 MB."""
CPU_REMEDY = (
    "large models need an NVIDIA GPU to run live; on a CPU use --model nano, or small sizes"
)

INT8_REMEDY = 'with --dtype int8 nano is 1.5 times as fast here (pip install "streamcam[openvino]")'


def accelerator(gpus: Sequence[Accelerator], cpu: CpuInfo, torch: str | None) -> Check:
    """Return a check of the GPUs, or a note on the CPU if there are none.

    Args:
        gpus: all that a model can run on.
        cpu: used where there is no GPU.
        torch: version of the package; "+cpu" in it marks a build without CUDA.
    """
    shown = "; ".join(map(_gpu, gpus))
    if any(gpu.problem for gpu in gpus):
        remedy = "reinstall the driver, and restart"
        return Check("accelerator", WARNING, shown, remedy)
    if gpus and sys.platform != "darwin" and torch is not None and "+cpu" in torch:
        remedy = "install PyTorch for CUDA: https://pytorch.org/get-started/locally/"
        return Check("accelerator", WARNING, f"{shown}; but torch {torch} cannot use it", remedy)
    if gpus:
        return Check("accelerator", OK, shown)
    text = f"no NVIDIA GPU; {cpu.name}, {cpu.cores} cores: seconds for an image of 512x512"
    # Where bfloat16 is missing, int8 is what is faster than float32.
    gains_by_int8 = "AVX2" in cpu.features and not any("bf16" in name for name in cpu.features)
    remedy = f"{CPU_REMEDY}; {INT8_REMEDY}" if gains_by_int8 else CPU_REMEDY
    return Check("accelerator", NOTE, text, remedy)


def _gpu(gpu: Accelerator) -> str:
    if gpu.problem:
        return f"{gpu.name}: {gpu.problem}"
    if not gpu.memory:
        return f"{gpu.name}, kernel {gpu.driver}"
    free, total = gpu.free / 2**30, gpu.memory / 2**30
    return f"{gpu.name}, {free:.1f} of {total:.1f} GiB free, driver {gpu.driver}"


def packages(versions: Mapping[str, str]) -> list[Check]:
    """Return the versions of Python and the main packages, and a check for conflicting ones.

    Args:
        versions: version of every installed package, by name.
    """
    shown = [f"{name} {versions[name]}" for name in LISTED_PACKAGES if name in versions]
    checks = [Check("packages", OK, ", ".join([f"Python {platform.python_version()}", *shown]))]
    builds = [name for name in OPENCV if name in versions]
    if len(builds) > 1:
        text = f"{' and '.join(builds)} overwrite each other's files"
        remedy = f"pip uninstall -y {' '.join(builds)}; pip install opencv-python-headless"
        checks.append(Check("packages", MISSING, text, remedy))
    return checks


def models(cached: Sequence[tuple[str, int]], *, gpu: bool) -> Check:
    """Return a check of the models in the cache, given as (name, bytes).

    Args:
        cached: what is there besides the model that comes with streamcam.
        gpu: whether there is a GPU, without which a large model takes seconds a frame.
    """
    if cached:
        listed = ", ".join(name for name, _ in cached)
        return Check("models", OK, f"{listed}; {sum(size for _, size in cached) / 1e9:.1f} GB")
    text = "only nano, which comes with streamcam and knows a few looks by name"
    return Check("models", OK, text, "streamcam models pull stabilityai/sd-turbo" if gpu else None)


def disk(folder: Path, min_bytes: float, purpose: str) -> Check:
    """Return a check of the disk space for `purpose` in `folder`, which need not exist yet."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
    except (OSError, StopIteration) as error:
        text = f"{folder} cannot be read: {getattr(error, 'strerror', 'it does not exist')}"
        return Check("disk", WARNING, text, f"choose another place for {purpose}")
    text = f"{free / 1e9:.1f} GB free for {purpose} in {folder}"
    if free < min_bytes:
        return Check(
            "disk", WARNING, text, f"free some space: {min_bytes / 1e9:.0f} GB are recommended"
        )
    return Check("disk", OK, text)


def port(name: str, kind: socket.SocketKind, address: str, number: int) -> Check:
    """Return a check of whether the port can be bound.

    Args:
        name: name of the setting, such as ``osc_port``.
        kind: SOCK_DGRAM for UDP, SOCK_STREAM for TCP.
        address: address to bind to.
        number: number of the port; 0 means any.
    """
    shown = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} {endpoint(address, number)}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, kind)) as probe:
        if kind == socket.SOCK_STREAM and sys.platform != "win32":
            # As servers do: lingering connections of an earlier run do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, number))
        except OSError as error:
            owner = port_owner(kind, number) if error.errno == errno.EADDRINUSE else None
            if owner and all_ours([owner]):
                return Check(name, OK, f"{shown}, on air in {owner}")
            text = f"{shown} is not available: {error.strerror}"
            by = f" by {owner}" if owner else ""
            return Check(name, WARNING, f"{text}{by}", f"choose another: --set {name}=NUMBER")
    return Check(name, OK, f"{shown} is free")
