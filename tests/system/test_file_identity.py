"""Two files have one identity only while nothing can have changed."""

import os
import time
from pathlib import Path

import pytest

from streamcam.system.file_identity import identity, joint_identity, settled_identity


def backdated(file: Path, seconds: float = 100.0) -> os.stat_result:
    """Return the status of `file` as it will be seen in `seconds`, in fine-grained times."""
    status = file.stat()
    past = status.st_mtime_ns - status.st_mtime_ns % 10**9 - int(seconds * 1e9) + 1
    return os.stat_result(
        tuple(status),
        {
            "st_mtime_ns": past,
            "st_ctime_ns": past,
        },
    )


def test_a_settled_file_has_an_identity(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    now = time.time()
    assert settled_identity(backdated(file), now)


def test_a_file_that_has_just_changed_has_none(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    os.utime(file, ns=(1, time.time_ns() + 10**12))
    assert identity(file) is None


def test_a_coarse_clock_is_given_more_time(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    second = 10**9
    status = os.stat_result(
        tuple(file.stat()), {"st_mtime_ns": 100 * second, "st_ctime_ns": 100 * second}
    )
    assert settled_identity(status, 101.0) is None
    assert settled_identity(status, 105.0)


@pytest.mark.parametrize("change", ["content", "size", "exchanged", "set back"])
def test_any_change_changes_the_identity(tmp_path: Path, change: str) -> None:
    file, later = tmp_path / "weights", time.time() + 100
    file.write_bytes(b"1")
    before = file.stat()
    first = settled_identity(before, later)
    if change == "exchanged":
        (tmp_path / "other").write_bytes(b"2")
        (tmp_path / "other").replace(file)
    else:
        time.sleep(0.02)  # Longer than the kernel's clock stands still.
        file.write_bytes(b"22" if change == "size" else b"2")
    if change == "set back":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert first != settled_identity(file.stat(), later)


def test_files_have_a_joint_identity_only_if_each_has_one(tmp_path: Path) -> None:
    assert joint_identity([]) == joint_identity([])
    assert joint_identity([tmp_path / "missing"]) is None
