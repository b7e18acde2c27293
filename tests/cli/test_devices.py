import json
from fractions import Fraction

import pytest
from click.testing import CliRunner

from streamcam.cli import devices as command
from streamcam.cli import hardware
from streamcam.errors import ConfigError
from streamcam.sources.camera_list import CameraInfo
from tests.support.media import run_script
from tests.support.memory_midi import MemoryMidi

CAMERA = CameraInfo("HD [Pro] Webcam", "/dev/video0", "/dev/video0", "/dev/v4l/by-id/usb-hd")
DENIED = CameraInfo("Locked\x9b2J\u202e", "/dev/video4", "/dev/video4", problem="Permission denied")
LOOPBACK = CameraInfo("streamcam", "/dev/video10", "/dev/video10", virtual=True)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cameras, a virtual camera and a GPU."""

    def modes(camera: CameraInfo) -> list[command.v4l2.Mode]:
        table = [("YUYV", (640, 480), 30), ("UYVY", (640, 480), 30), ("MJPG", (1280, 720), 60)]
        return (
            []
            if camera.problem
            else [
                command.v4l2.Mode(name, False, size, size, (1, 1), (Fraction(rate),))
                for name, size, rate in table
            ]
        )

    gpu = hardware.Accelerator("Big GPU", 24 * 2**30, 20 * 2**30, "570.1")
    monkeypatch.setattr(command, "cameras", lambda: (CAMERA, DENIED, LOOPBACK))
    monkeypatch.setattr(command, "_modes", modes)
    monkeypatch.setattr(command, "accelerators", lambda: [gpu])


@pytest.mark.usefixtures("machine")
def test_cameras_are_shown_with_their_formats_and_problems() -> None:
    shown = CliRunner().invoke(command.devices, [], env={"COLUMNS": "160"}).output
    assert "/dev/video0" in shown
    assert "HD [Pro] Webcam" in shown
    assert "YUYV UYVY: 640x480@30" in shown
    assert "MJPG: 1280x720@60" in shown
    assert "Permission denied" in shown
    assert "Locked\\u009b2J\\u202e" in shown
    assert "24 GiB, 20 free, driver 570.1" in shown


@pytest.mark.usefixtures("machine")
def test_json_output_has_the_same_facts() -> None:
    table = json.loads(CliRunner().invoke(command.devices, ["--json"]).output)
    first, denied = table["cameras"]
    assert first["formats"][2] == {
        "fourcc": "MJPG",
        "least": [1280, 720],
        "most": [1280, 720],
        "fps": 60.0,
    }
    assert denied["problem"] == "Permission denied"
    assert [camera["name"] for camera in table["virtual_cameras"]] == ["streamcam"]
    assert table["accelerators"][0]["memory"] == 24 * 2**30
    assert table["processor"]["threads"] >= table["processor"]["cores"] >= 1


def test_a_machine_without_cameras_and_gpus_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "cameras", lambda: ())
    monkeypatch.setattr(command, "accelerators", list)
    monkeypatch.setattr(command, "load_backend", MemoryMidi().use)
    result = CliRunner().invoke(command.devices, [])
    assert result.exit_code == 0
    assert result.output.count("none found") == 4


def test_midi_inputs_are_listed_or_why_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "cameras", lambda: ())
    monkeypatch.setattr(command, "accelerators", list)
    monkeypatch.setattr(command, "load_backend", MemoryMidi("nanoKONTROL2:nano [CTRL] 20:0").use)
    assert "nanoKONTROL2:nano [CTRL]" in CliRunner().invoke(command.devices, []).output
    table = json.loads(CliRunner().invoke(command.devices, ["--json"]).output)
    assert table["midi"]["inputs"][0].startswith("nanoKONTROL2:nano [CTRL]")

    def not_installed() -> None:
        raise ConfigError('run pip install "streamcam[midi]"')

    monkeypatch.setattr(command, "load_backend", not_installed)
    shown = CliRunner().invoke(command.devices, [], env={"COLUMNS": "160"}).output
    assert 'run pip install "streamcam[midi]"' in shown


def test_devices_does_not_import_torch() -> None:
    script = """
        from click.testing import CliRunner
        from streamcam.cli.devices import devices
        print(CliRunner().invoke(devices, ["--json"]).exit_code, "torch" in sys.modules)
    """
    assert run_script(script, "") == "0 False\n"
