import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamcam.cli.checks import MISSING, NOTE, OK, WARNING, Check, machine_checks
from streamcam.cli.checks.camera_checks import cameras
from streamcam.cli.checks.virtual_camera_checks import virtual_cameras
from streamcam.cli.hardware import Accelerator, Processor
from streamcam.sources.camera_list import CameraInfo
from streamcam.v4l2 import CAN_CAPTURE, CAN_OUTPUT, Device, kernel_module

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is Linux's")

HEAVY = {
    *("torch", "torchvision", "triton", "diffusers", "transformers", "accelerate", "peft"),
    *("openvino", "tensorrt", "onnx", "onnxruntime", "onnxscript"),
    *("av", "scipy", "sympy", "pandas", "matplotlib", "PIL.Image"),
}
"""Modules that take longer to import than all that doctor needs."""
BOTH = CAN_CAPTURE | CAN_OUTPUT


def nobody(path: str) -> tuple[str, ...]:
    return ()


def obs(path: str) -> tuple[str, ...]:
    return ("obs (4711)",)


def loopback(
    label: str = "streamcam", number: int = 10, can: int = CAN_OUTPUT, problem: str | None = None
) -> Device:
    path = Path(f"/dev/video{number}")
    return Device(path, label, "v4l2 loopback", "", can, problem=problem)


def written(root: Path, path: str, content: str | bytes) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a system with v4l2loopback 0.15.0 as it should be."""
    parameters = "sys/module/v4l2loopback/parameters"
    written(tmp_path, f"{parameters}/exclusive_caps", "Y,N,N,N,N,N,N,N\n")
    written(tmp_path, f"{parameters}/video_nr", "10,-1,-1,-1,-1,-1,-1,-1\n")
    written(tmp_path, "sys/module/v4l2loopback/version", "0.15.0\n")
    written(tmp_path, "etc/modules-load.d/v4l2loopback.conf", "v4l2loopback\n")
    return tmp_path


def look(root: Path, *devices: Device, sinks: tuple[str, ...] = ("auto",)) -> list[Check]:
    return virtual_cameras(devices, sinks, nobody, root)


def test_a_camera_that_is_free_is_fine() -> None:
    (check,) = cameras([CameraInfo("C920", "/dev/video0", "/dev/video0")], nobody)
    assert (check.state, check.text) == (OK, '/dev/video0 "C920"')


def test_a_camera_in_use_says_by_whom() -> None:
    (check,) = cameras([CameraInfo("C920", "/dev/video0", "/dev/video0")], obs)
    assert check.state == WARNING
    assert "is open in obs (4711)" in check.text


def test_a_camera_that_may_not_be_opened_names_the_group() -> None:
    found = CameraInfo("C920", "/dev/video0", "/dev/video0", problem="Permission denied")
    (check,) = cameras([found], nobody)
    assert check.state == WARNING
    assert "usermod -aG video" in (check.remedy or "")


def test_no_camera_is_a_warning_since_the_demo_stands_in() -> None:
    virtual = CameraInfo("streamcam", "/dev/video10", "/dev/video10", virtual=True)
    (check,) = cameras([virtual], nobody)
    assert check.state == WARNING
    assert "the demo" in check.text


@linux_only
def test_a_virtual_camera_as_it_should_be_is_fine(root: Path) -> None:
    checks = look(root, loopback())
    assert [check.state for check in checks] == [OK, OK]
    assert checks[0].text == '/dev/video10 "streamcam", free to write to'
    assert checks[1].text == "version 0.15.0"


@linux_only
@pytest.mark.parametrize(
    ("system", "line"),
    [
        ('ID=debian\nVERSION_ID="12"', "sudo apt install v4l2loopback-dkms linux-headers-"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'", "sudo apt install v4l2loopback-dkms"),
        ("ID=fedora", "sudo dnf install akmod-v4l2loopback"),
        ("ID=endeavouros\nID_LIKE=arch", "sudo pacman -S v4l2loopback-dkms"),
        ("ID=nixos", "boot.extraModulePackages"),
        ("ID=plan9", "install the package v4l2loopback-dkms"),
    ],
)
def test_without_the_module_the_distributions_own_line_is_given(
    tmp_path: Path, system: str, line: str
) -> None:
    written(tmp_path, "etc/os-release", system)
    (check,) = look(tmp_path)
    assert (check.state, check.text) == (
        MISSING,
        "v4l2loopback is not installed for this kernel",
    )
    assert check.remedy is not None
    assert check.remedy.startswith(line)
    assert check.remedy.endswith(kernel_module.MODPROBE)


@linux_only
def test_a_module_that_is_installed_needs_only_be_loaded(tmp_path: Path) -> None:
    dependencies = "updates/dkms/v4l2loopback.ko.xz: kernel/videodev.ko\n"
    written(tmp_path, f"lib/modules/{platform.release()}/modules.dep", dependencies)
    (check,) = look(tmp_path)
    assert check.text == "v4l2loopback is not loaded"
    assert check.remedy == kernel_module.MODPROBE


@linux_only
@pytest.mark.parametrize(("value", "told"), [(b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False)])
def test_secure_boot_is_told_of_where_it_is_on(tmp_path: Path, value: bytes, told: bool) -> None:
    written(tmp_path, kernel_module.SECURE_BOOT, value)
    (check,) = look(tmp_path)
    assert ("mokutil --import" in (check.remedy or "")) is told


@linux_only
def test_a_loaded_module_without_devices_is_missing(root: Path) -> None:
    (check,) = look(root)
    assert check.state == MISSING
    assert check.remedy == kernel_module.RELOAD


@linux_only
def test_a_virtual_camera_is_not_needed_where_no_sink_is_one(tmp_path: Path, root: Path) -> None:
    (check,) = look(tmp_path / "empty", sinks=("preview", "null"))
    assert check.state == NOTE


@linux_only
def test_the_label_of_the_settings_is_looked_for(root: Path) -> None:
    checks = look(root, loopback(), sinks=("virtual-camera:studio", "preview"))
    assert checks[0].state == MISSING
    assert 'no virtual camera "studio"; found: /dev/video10 "streamcam"' in checks[0].text


@linux_only
def test_a_virtual_camera_that_is_written_to_says_by_whom(root: Path) -> None:
    check, *_ = virtual_cameras([loopback(can=CAN_CAPTURE)], ["auto"], obs, root)
    assert check.state == WARNING
    assert "is being written to, open in obs (4711)" in check.text


@linux_only
def test_a_device_left_dead_is_brought_back_and_said_so(root: Path) -> None:
    check, *_ = look(root, loopback(can=0))
    assert check.state == OK
    assert "run brings it back" in check.text


@linux_only
def test_a_virtual_camera_that_may_not_be_opened_names_the_group(root: Path) -> None:
    check, *_ = look(root, loopback(can=0, problem="Permission denied"))
    assert (check.state, check.remedy) == (MISSING, kernel_module.GROUP)


@linux_only
def test_a_module_before_0_13_is_to_be_replaced(root: Path) -> None:
    (root / "sys/module/v4l2loopback/version").unlink()
    check = look(root, loopback())[1]
    assert check.state == WARNING
    assert "0.13 or later" in (check.remedy or "")


@linux_only
def test_shared_caps_are_warned_of_for_the_device_that_has_them(root: Path) -> None:
    parameters = root / "sys/module/v4l2loopback/parameters"
    (parameters / "video_nr").write_text("9,10,-1\n")
    (parameters / "exclusive_caps").write_text("Y,N,N\n")
    checks = look(root, loopback("OBS Virtual Camera", 9), loopback(can=BOTH))
    warned = [check.text for check in checks if check.state == WARNING]
    assert warned == ["/dev/video10 has exclusive_caps=0: Chrome and others do not list it"]


@linux_only
@pytest.mark.parametrize("file", ["etc/modules", "usr/lib/modules-load.d/video.conf"])
def test_a_module_that_will_be_gone_after_a_restart_is_noted(root: Path, file: str) -> None:
    (root / "etc/modules-load.d/v4l2loopback.conf").write_text("# v4l2loopback\n")
    assert look(root, loopback())[-1].remedy == kernel_module.PERSIST
    written(root, file, "v4l2loopback\n")
    assert look(root, loopback())[-1].state == OK


def test_two_builds_of_opencv_at_once_are_wrong() -> None:
    versions = {"opencv-python": "4.12", "opencv-python-headless": "5.0"}
    assert machine_checks.packages(versions)[1].state == MISSING
    assert len(machine_checks.packages({"opencv-python-headless": "5.0"})) == 1


CARD = Accelerator("RTX 4090", 24 * 2**30, 23 * 2**30, "580.1")
HERE = Processor("A processor", 8, 16, 32 * 2**30, ())


def test_a_gpu_is_told_with_its_memory_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    check = machine_checks.accelerator([CARD], HERE, "2.13.0")
    assert (check.state, check.text) == (OK, "RTX 4090, 23.0 of 24.0 GiB free, driver 580.1")


def test_a_gpu_that_torch_was_not_built_for_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    check = machine_checks.accelerator([CARD], HERE, "2.13.0+cpu")
    assert check.state == WARNING
    assert "torch 2.13.0+cpu cannot use it" in check.text


def test_a_gpu_that_does_not_answer_is_a_warning_in_the_drivers_words() -> None:
    broken = Accelerator("NVIDIA", 0, 0, "", "Driver/library version mismatch")
    check = machine_checks.accelerator([broken], HERE, "2.13.0")
    assert (check.state, check.text) == (WARNING, "NVIDIA: Driver/library version mismatch")


def test_no_gpu_is_a_note_with_the_cores() -> None:
    check = machine_checks.accelerator([], HERE, "2.13.0")
    assert check.state == NOTE
    assert "A processor, 8 cores" in check.text


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_a_warning(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        number = other.getsockname()[1]
        check = machine_checks.port("osc_port", kind, "127.0.0.1", number)
        assert check.state == WARNING
        assert "--set osc_port=NUMBER" in (check.remedy or "")
    assert machine_checks.port("osc_port", kind, "127.0.0.1", number).state == OK


def test_a_full_disk_is_a_warning_and_a_folder_that_is_yet_to_be_made_is_none(
    tmp_path: Path,
) -> None:
    assert machine_checks.disk(tmp_path / "not" / "yet", 1, "models").state == OK
    assert machine_checks.disk(tmp_path, 1e18, "models").state == WARNING


def run(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``streamcam doctor`` with an empty cache; it prints which heavy modules it imported."""
    script = f"""
import sys
from streamcam.cli import main
sys.argv[0] = "streamcam"
try:
    main()
finally:
    print("heavy:", sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""
    return subprocess.run(
        [sys.executable, "-c", script, "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"HF_HOME": str(tmp_path), "COLUMNS": "40"},
    )


def test_doctor_answers_in_json_without_torch(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", "--sink", "null", "--osc-port", "0", "--preview-port", "0")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert found["ok"] is True
    names = [check["name"] for check in found["checks"]]
    assert names[0] == "camera"
    assert {"accelerator", "models", "disk", "osc_port", "preview_port", "packages"} <= set(names)
    assert done.stderr == "heavy: []\n"


def test_doctor_prints_remedies_in_one_piece_and_ends_with_1_where_something_is_missing(
    tmp_path: Path,
) -> None:
    if sys.platform != "linux":
        pytest.skip("a virtual camera is found missing on Linux alone")
    done = run(tmp_path, "--sink", "virtual-camera:no such label")
    assert done.returncode == 1
    assert "✗ virtual camera" in done.stdout
    assert "→ streamcam models pull stabilityai/sd-turbo" in done.stdout


def test_doctor_refuses_unknown_settings(tmp_path: Path) -> None:
    done = run(tmp_path, "--set", "osc_prot=1")
    assert done.returncode == 2
    assert 'did you mean "osc_port"?' in done.stderr


def test_doctor_imports_nothing_that_takes_long(tmp_path: Path) -> None:
    # With all checks, so that none of them reaches for a library that takes seconds.
    assert run(tmp_path, "--json").stderr == "heavy: []\n"
