"""Modules in the current folder that streamcam and what it starts must never import."""

import sys
from collections.abc import Iterable
from pathlib import Path

EVERYTHING = {*sys.stdlib_module_names, "numpy", "psutil", "streamcam", "torch"}
NOT_BY_RUNPY = {"numpy", "psutil", "selectors", "signal", "socket", "torch", "typing"} | {
    "multiprocessing",
    "subprocess",
    "tempfile",
    "threading",
}
"""For ``python -m streamcam``: Python itself imports the others from the current folder."""


class PlantedModules:
    """A folder to start processes in.

    Args:
        folder: an empty one.
        names: of the modules.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._log = folder / "imported"
        folder.mkdir()
        text = f"open({str(self._log)!r}, 'a').write(__name__ + ' ')"
        for name in names:
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

    @property
    def imported(self) -> list[str]:
        """Names of the modules that any process has imported so far."""
        return self._log.read_text().split() if self._log.exists() else []
