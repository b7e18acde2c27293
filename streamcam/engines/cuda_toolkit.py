"""Find CUDA's headers and the driver's library for a C++ compiler, with or without a toolkit."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from streamcam.errors import EngineError

HEADERS = ("cuda.h", "cuda_runtime_api.h", "crt/host_defines.h", "nv/target")
WHEELS = ("nvidia.cu13",)
"""Packages with CUDA's headers: torch's wheels bring half of them, the extra the others."""
DRIVER = "libcuda.so"


@contextmanager
def cuda_for_compilers(scratch: Path) -> Iterator[None]:
    """Let compilers find CUDA's headers, and the driver's library under the name they look for.

    Args:
        scratch: a folder to make, in one that lasts as long.

    Raises:
        EngineError: the headers are not there.
    """
    from torch.utils import cpp_extension

    installed = cpp_extension.CUDA_HOME
    root = toolkit([Path(installed)] if installed else [])
    variables = {"CPATH": includes(root), "LIBRARY_PATH": list(_driver_folder(scratch))}
    before = {name: os.environ.get(name) for name in variables}
    for name, folders in variables.items():
        if folders:
            os.environ[name] = os.pathsep.join([*map(str, folders), *filter(None, [before[name]])])
    # Without a toolkit it is None, which torch refuses to compile with.
    cpp_extension.CUDA_HOME = installed or str(root)
    try:
        yield
    finally:
        cpp_extension.CUDA_HOME = installed
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


def toolkit(installed: Sequence[Path]) -> Path:
    """Return the folder with CUDA's headers in its ``include``.

    Args:
        installed: folders to look in first.

    Raises:
        EngineError: there is none, with the remedy.
    """
    for root in [*installed, *_wheels()]:
        if all(any((folder / header).is_file() for folder in includes(root)) for header in HEADERS):
            return root
    raise EngineError(
        "CUDA's headers are missing, which compiled needs for NVIDIA GPUs; run pip install"
        ' "streamcam[compiled]", install the CUDA toolkit, or choose --acceleration graph'
    )


def includes(root: Path) -> list[Path]:
    """Return the folders of headers in a toolkit: since CUDA 13 some have one of their own."""
    return [root / "include", root / "include" / "cccl"]


def _wheels() -> Iterator[Path]:
    for name in WHEELS:
        try:
            spec = find_spec(name)
        except ModuleNotFoundError:  # The package around it is not there.
            continue
        if spec is not None:
            yield from map(Path, spec.submodule_search_locations or ())


def _driver_folder(scratch: Path) -> Iterator[Path]:
    """Yield a folder with the driver's library under the name that linkers look for.

    Drivers come without it, as it is for developers. The library itself is in this process.
    """
    if sys.platform != "linux":
        return
    import psutil

    paths = (Path(each.path) for each in psutil.Process().memory_maps())
    if library := next((path for path in paths if path.name.startswith(DRIVER)), None):
        scratch.mkdir()
        (scratch / DRIVER).symlink_to(library)
        yield scratch
