import os
import sys
from pathlib import Path

import pytest

from streamcam import v4l2


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(v4l2, "SYSFS", tmp_path / "video4linux")
    monkeypatch.setattr(v4l2, "LINKS", (tmp_path / "by-id",))
    (tmp_path / "video4linux").mkdir()
    return tmp_path / "video4linux"


def node(sysfs: Path, number: int, name: str, **attributes: str) -> None:
    folder = sysfs / f"video{number}"
    folder.mkdir()
    for attribute, value in {"name": name, "index": "0", **attributes}.items():
        (folder / attribute).write_text(f"{value}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="video nodes are Linux's")
def test_devices_that_cannot_be_queried_are_listed_by_number_with_the_reason(sysfs: Path) -> None:
    node(sysfs, 910, "streamcam", max_openers="10")
    node(sysfs, 92, "Webcam", index="1")
    (sysfs / "v4l-subdev0").mkdir()
    webcam, loopback = v4l2.devices()
    assert (webcam.name, webcam.index, webcam.captures) == ("Webcam", 1, False)
    assert webcam.problem == os.strerror(2)
    assert loopback.is_loopback
    assert not webcam.is_loopback


def test_without_video_devices_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v4l2, "SYSFS", tmp_path / "missing")
    assert v4l2.devices() == ()


def test_an_attribute_that_is_not_there_is_none(sysfs: Path) -> None:
    node(sysfs, 3, "Webcam", format="YU12:640x480@30")
    assert v4l2.attribute("/dev/video3", "format") == "YU12:640x480@30"
    assert v4l2.attribute("/dev/video3", "state") is None


def test_capabilities_say_what_a_device_can_do() -> None:
    def device(capabilities: int) -> v4l2.Device:
        return v4l2.Device(Path("/dev/video0"), "", "", "", capabilities)

    assert device(0x05200005).captures
    assert device(0x05200002).outputs
    assert device(0x04A00000).is_metadata
    assert not device(0x04A00000).captures
    assert not device(0).captures


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_holders_are_listed_by_name_and_process_id(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.touch()
    assert v4l2.holders(path) == ()
    with path.open():
        (holder,) = v4l2.holders(path)
    assert holder.endswith(f"({os.getpid()})")
