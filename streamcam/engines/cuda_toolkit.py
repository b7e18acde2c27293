"""What a C++ compiler needs to build for CUDA where no toolkit is installed: torch brings most."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from streamcam.errors import EngineError

HEADER = "cuda.h"
WHEELS = ("nvidia.cu13", "nvidia.cuda_runtime")
"""Packages with CUDA's headers that torch's own wheels depend on; the second is CUDA 12's."""
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
    variables = {"CPATH": [root / "include"], "LIBRARY_PATH": list(_driver_folder(scratch))}
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
        if (root / "include" / HEADER).is_file():
            return root
    raise EngineError(
        f"CUDA's header {HEADER} is missing, which compiled needs for NVIDIA GPUs; run pip install"
        " nvidia-cuda-runtime, install the CUDA toolkit, or choose --acceleration graph"
    )


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
