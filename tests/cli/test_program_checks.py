"""Notes of the doctor on programs that read the virtual camera."""

import sys
from pathlib import Path

import pytest

from streamcam.cli.checks import NOTE, Check
from streamcam.cli.checks.program_checks import check_programs
from tests.cli.test_doctor import loopback

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is of Linux")


def checks_by_name(root: Path, *names: str, **environment: str) -> dict[str, Check]:
    devices = [loopback(name) for name in names]
    found = list(check_programs(devices, environment, root, root / "home"))
    assert all(check.state == NOTE and check.remedy for check in found)
    return {check.name: check for check in found}


def test_loading_at_start_up_is_offered_before_there_is_a_device(tmp_path: Path) -> None:
    assert "modules-load.d" in (checks_by_name(tmp_path)["at start-up"].remedy or "")
    file = tmp_path / "etc/modules-load.d/v4l2loopback.conf"
    file.parent.mkdir(parents=True)
    file.write_text("v4l2loopback\n")
    assert checks_by_name(tmp_path) == {}


def test_obs_is_noted_unless_it_has_a_device_of_its_own(tmp_path: Path) -> None:
    note = checks_by_name(tmp_path, "streamcam")["OBS"]
    assert 'card_label=streamcam,"OBS Virtual Camera"' in (note.remedy or "")
    assert checks_by_name(tmp_path, "streamcam", "OBS Virtual Camera") == {}


def test_sandboxed_programs_are_named_with_their_permission(tmp_path: Path) -> None:
    for path in (
        "snap/bin/firefox",
        "var/lib/flatpak/exports/bin/com.obsproject.Studio",
        "home/.local/share/flatpak/exports/bin/com.google.Chrome",
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    found = checks_by_name(tmp_path, "streamcam", "OBS")
    assert found["Snap"].remedy == "sudo snap connect firefox:camera"
    remedy = found["Flatpak"].remedy or ""
    assert "--device=all com.obsproject.Studio" in remedy
    assert "--device=all com.google.Chrome" in remedy


def test_wayland_is_explained_where_there_is_a_virtual_camera(tmp_path: Path) -> None:
    assert "Wayland" not in checks_by_name(tmp_path, XDG_SESSION_TYPE="wayland")
    assert "Wayland" not in checks_by_name(tmp_path, "OBS", XDG_SESSION_TYPE="x11")
    assert "wireplumber" in (
        checks_by_name(tmp_path, "OBS", XDG_SESSION_TYPE="wayland")["Wayland"].remedy or ""
    )
