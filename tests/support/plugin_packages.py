"""Install packages with entry points into a folder on sys.path, for tests of plugins."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest


class PluginPackages:
    """Folder of installed packages, each a module and the metadata that pip would write."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(folder)

    def install(self, name: str, *, module: str, source: str, entry_points: str) -> None:
        """Install version 1.2 of the package `name`, with one `module` of `source`."""
        (self._folder / f"{module}.py").write_text(dedent(source))
        # The module of an earlier test must not be imported instead, nor this one by a later test.
        self._monkeypatch.delitem(sys.modules, module, raising=False)
        metadata = self._folder / f"{module}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginPackages:
    """Return a folder on sys.path for packages with entry points."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return PluginPackages(folder, monkeypatch)
