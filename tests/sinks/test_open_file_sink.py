import os
from pathlib import Path

import pytest

from streamcam.errors import MediaError
from streamcam.sinks.sink_table import open_file_sink
from tests.support.media import RATE


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=rf"no folder {tmp_path}/no; make it first"):
        open_file_sink(tmp_path / "no" / "a.mkv", RATE)


@pytest.mark.parametrize("name", ["a.gif", "a.txt", "a.mvk"])
def test_an_unknown_suffix_is_refused_with_those_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"known are \.mkv, \.mp4, .*without suffix"):
        open_file_sink(tmp_path / name, RATE)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_path_without_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(MediaError, match=r"is no name for a file; name one, such as out\.mkv"):
        open_file_sink(Path(name), RATE)


@pytest.mark.parametrize("name", ["a.mkv", "a.npy", "a.png"])
@pytest.mark.parametrize("kind", ["", ".partial"])
def test_a_folder_at_the_path_of_a_file_is_reported_before_rendering(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    path.with_name(f"a{kind}{path.suffix}").mkdir()
    with pytest.raises(MediaError, match=r"is a folder; choose another name"):
        open_file_sink(path, RATE)


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".mkv"])
def test_a_name_that_is_too_long_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"cannot write .*: File name too long"):
        open_file_sink(tmp_path / name, RATE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_reported_before_rendering(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(MediaError, match=r"cannot write into .*choose a place you may write to"):
        open_file_sink(tmp_path / "a.mkv", RATE)
