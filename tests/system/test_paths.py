import os
from collections.abc import Callable
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from streamcam.engines.store import Store
from streamcam.errors import StreamcamError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sinks.sink_table import open_sink
from streamcam.sources.source_table import open_source
from streamcam.system import paths
from streamcam.system.paths import (
    compiler_cache,
    engines_folder,
    expanded,
    leave_deleted_folder,
    snapshots_folder,
)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the home folder unknown, as for a user without a name and without HOME."""

    def unknown(path: Path) -> Path:
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr(paths, "user_cache_path", lambda _name: Path("~/.cache/streamcam"))
    monkeypatch.setattr(paths, "user_pictures_path", lambda: Path("~/Pictures"))


@pytest.mark.parametrize(
    "use",
    [
        lambda: expanded("~/x.mp4"),
        lambda: open_source("~/x.mp4", BroadcastSettings()),
        lambda: open_sink("recorder:~/x.mkv", BroadcastSettings(), None),
        engines_folder,
        snapshots_folder,
        Store,
        lambda: Store("~/engines"),
    ],
)
def test_without_a_home_folder_whatever_needs_one_says_so(
    homeless: None, use: Callable[[], object]
) -> None:
    with pytest.raises(StreamcamError, match=r"no home folder is known.*; set HOME, or") as refusal:
        use()
    assert "\n" not in str(refusal.value)


def test_compiled_code_is_kept_where_only_the_user_writes() -> None:
    folder = compiler_cache()
    assert folder
    assert folder.is_relative_to(user_cache_path("streamcam"))


def test_without_a_home_folder_compiled_code_is_not_kept(homeless: None) -> None:
    assert compiler_cache() is None


def test_without_a_home_folder_whole_paths_work(homeless: None, tmp_path: Path) -> None:
    assert expanded(tmp_path) == tmp_path
    assert Store(tmp_path).entries() == []


def test_a_current_folder_that_is_there_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leave_deleted_folder()
    assert Path.cwd() == tmp_path


@pytest.mark.usefixtures("deleted_folder")
def test_a_deleted_current_folder_is_left(caplog: pytest.LogCaptureFixture) -> None:
    leave_deleted_folder()
    assert os.access(Path.cwd(), os.W_OK)
    assert "is gone; it goes on in" in caplog.text
