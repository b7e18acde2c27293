"""What another user may have written is not read."""

import os
from pathlib import Path

import pytest

from streamcam.system.private_file import is_private, read_private, replace_private

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        replace_private(tmp_path / "file", content)
        assert read_private(tmp_path / "file", 100) == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_of_a_file_that_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        replace_private(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
@pytest.mark.parametrize("mode", [0o664, 0o606])
def test_a_file_that_others_can_write_is_not_read(tmp_path: Path, mode: int) -> None:
    replace_private(tmp_path / "file", b"content")
    (tmp_path / "file").chmod(mode)
    with pytest.raises(PermissionError):
        read_private(tmp_path / "file", 100)


@posix
@pytest.mark.parametrize(("owner", "private"), [(0, True), (54321, True), (12345, False)])
def test_only_this_user_and_the_administrator_are_trusted(
    owner: int, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    status = os.stat_result((0o100644, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert is_private(status) is private
