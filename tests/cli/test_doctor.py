import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcam.cli.checks import (
    MISSING,
    NOTE,
    OK,
    WARNING,
    Check,
    machine_checks,
    own_processes,
)
from streamcam.cli.checks.camera_checks import check_cameras
from streamcam.cli.checks.own_processes import is_broadcast
from streamcam.cli.checks.virtual_camera_checks import check_virtual_cameras
from streamcam.cli.hardware import Accelerator, CpuInfo
from streamcam.sources.camera_list import CameraInfo
from streamcam.v4l2 import CAN_CAPTURE, CAN_OUTPUT, Device, kernel_module

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is Linux's")

HEAVY = {
    *("torch", "torchvision", "triton", "diffusers", "transformers", "accelerate", "peft"),
    *("openvino", "tensorrt", "onnx", "onnxruntime", "onnxscript"),
    *("av", "scipy", "sympy", "pandas", "matplotlib", "PIL.Image"),
}
"""Modules that take longer to import than everything that doctor needs."""
BOTH = CAN_CAPTURE | CAN_OUTPUT


def no_holders(path: str) -> tuple[str, ...]:
    return ()


def obs_is_holder(path: str) -> tuple[str, ...]:
    return ("obs (4711)",)


def loopback(
    label: str = "streamcam", number: int = 10, can: int = CAN_OUTPUT, problem: str | None = None
) -> Device:
    path = Path(f"/dev/video{number}")
    return Device(path, label, "v4l2 loopback", "", can, problem=problem)


def write(root: Path, path: str, content: str | bytes) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def port_in_use(kind: socket.SocketKind) -> Iterator[int]:
    """Yield the number of a port of this machine that this process holds."""
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield holder.getsockname()[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a file system with v4l2loopback 0.15.0 loaded correctly."""
    parameters = "sys/module/v4l2loopback/parameters"
    write(tmp_path, f"{parameters}/exclusive_caps", "Y,N,N,N,N,N,N,N\n")
    write(tmp_path, f"{parameters}/video_nr", "10,-1,-1,-1,-1,-1,-1,-1\n")
    write(tmp_path, "sys/module/v4l2loopback/version", "0.15.0\n")
    write(tmp_path, "etc/modules-load.d/v4l2loopback.conf", "v4l2loopback\n")
    return tmp_path


def checks_of(root: Path, *devices: Device, sinks: tuple[str, ...] = ("auto",)) -> list[Check]:
    return check_virtual_cameras(devices, sinks, no_holders, root)


def test_a_free_camera_is_ok() -> None:
    (check,) = check_cameras([CameraInfo("C920", "/dev/video0", "/dev/video0")], no_holders)
    assert (check.state, check.text) == (OK, '/dev/video0 "C920"')


def test_a_camera_in_use_is_a_warning_with_the_program() -> None:
    (check,) = check_cameras([CameraInfo("C920", "/dev/video0", "/dev/video0")], obs_is_holder)
    assert check.state == WARNING
    assert "is open in obs (4711)" in check.text


def test_a_camera_without_permission_is_a_warning_with_the_group() -> None:
    camera = CameraInfo("C920", "/dev/video0", "/dev/video0", problem="Permission denied")
    (check,) = check_cameras([camera], no_holders)
    assert check.state == WARNING
    assert "usermod -aG video" in (check.remedy or "")


def test_no_camera_is_a_warning_since_the_demo_replaces_it() -> None:
    virtual = CameraInfo("streamcam", "/dev/video10", "/dev/video10", virtual=True)
    (check,) = check_cameras([virtual], no_holders)
    assert check.state == WARNING
    assert "the demo" in check.text


@linux_only
def test_a_free_virtual_camera_is_ok(root: Path) -> None:
    checks = checks_of(root, loopback())
    assert [check.state for check in checks] == [OK, OK]
    assert checks[0].text == '/dev/video10 "streamcam", free'
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
def test_without_the_module_the_install_command_of_the_distribution_is_shown(
    tmp_path: Path, system: str, line: str
) -> None:
    write(tmp_path, "etc/os-release", system)
    (check,) = checks_of(tmp_path)
    assert (check.state, check.text) == (
        MISSING,
        "v4l2loopback is not installed for this kernel",
    )
    assert check.remedy is not None
    assert check.remedy.startswith(line)
    assert check.remedy.endswith(kernel_module.MODPROBE)


@linux_only
def test_an_installed_module_only_has_to_be_loaded(tmp_path: Path) -> None:
    dependencies = "updates/dkms/v4l2loopback.ko.xz: kernel/videodev.ko\n"
    write(tmp_path, f"lib/modules/{platform.release()}/modules.dep", dependencies)
    (check,) = checks_of(tmp_path)
    assert check.text == "v4l2loopback is not loaded"
    assert check.remedy == kernel_module.MODPROBE


@linux_only
@pytest.mark.parametrize(("value", "expected"), [(b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False)])
def test_secure_boot_is_explained_if_it_is_on(tmp_path: Path, value: bytes, expected: bool) -> None:
    write(tmp_path, kernel_module.SECURE_BOOT, value)
    (check,) = checks_of(tmp_path)
    assert ("mokutil --import" in (check.remedy or "")) is expected


@linux_only
def test_a_loaded_module_without_devices_is_missing(root: Path) -> None:
    (check,) = checks_of(root)
    assert check.state == MISSING
    assert check.remedy == kernel_module.RELOAD


@linux_only
def test_a_virtual_camera_is_not_needed_if_no_sink_uses_it(tmp_path: Path, root: Path) -> None:
    (check,) = checks_of(tmp_path / "empty", sinks=("preview", "null"))
    assert check.state == NOTE


@linux_only
def test_a_missing_label_of_the_settings_is_reported(root: Path) -> None:
    checks = checks_of(root, loopback(), sinks=("virtual-camera:studio", "preview"))
    assert checks[0].state == MISSING
    assert 'no virtual camera "studio"; found: /dev/video10 "streamcam"' in checks[0].text


@linux_only
def test_a_virtual_camera_in_use_is_a_warning_with_the_program(root: Path) -> None:
    check, *_ = check_virtual_cameras([loopback(can=CAN_CAPTURE)], ["auto"], obs_is_holder, root)
    assert check.state == WARNING
    assert "is in use, open in obs (4711)" in check.text


def test_what_streamcam_itself_holds_on_air_is_ok(root: Path) -> None:
    def ours(path: str) -> tuple[str, ...]:
        return ("streamcam (4711)",)

    (camera,) = check_cameras([CameraInfo("C920", "/dev/video0", "/dev/video0")], ours)
    assert (camera.state, camera.remedy) == (OK, None)
    assert camera.text.endswith("on air in streamcam (4711)")
    if sys.platform == "linux":
        check, *_ = check_virtual_cameras([loopback(can=CAN_CAPTURE)], ["auto"], ours, root)
        assert (check.state, check.remedy) == (OK, None)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/opt/python3 -m streamcam run --sink preview", True),
        ("python3 -P -m streamcam run", True),
        ("/usr/bin/python3 /venv/bin/streamcam run", True),
        ("streamcam.exe run", True),
        ("python3 -m streamcam doctor", False),
        ("python3 render.py streamcam.toml", False),
        ("vim streamcam", False),
        ("", False),
    ],
)
def test_a_broadcast_is_recognised_by_its_command(command: str, expected: bool) -> None:
    assert is_broadcast(command.split()) is expected


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_owner_of_a_port_is_named_and_streamcam_s_own_port_is_ok(
    kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("other systems show owners only to administrators")
    with port_in_use(kind) as number:
        check = machine_checks.port("osc_port", kind, "127.0.0.1", number)
        assert f"({os.getpid()})" in check.text
        monkeypatch.setattr(own_processes, "is_broadcast", lambda _command: True)
        check = machine_checks.port("osc_port", kind, "127.0.0.1", number)
    assert (check.state, check.remedy) == (OK, None)
    assert check.text.endswith(f"on air in streamcam ({os.getpid()})")


@pytest.mark.parametrize("gpu", [True, False])
def test_a_large_model_is_recommended_only_with_a_gpu(gpu: bool) -> None:
    check = machine_checks.models([], gpu=gpu)
    assert check.state == OK
    assert (check.remedy == "streamcam models pull stabilityai/sd-turbo") is gpu


def test_a_folder_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert machine_checks.disk(tmp_path / ("x" * 300), 1, "models").state == WARNING


@linux_only
def test_a_device_left_unusable_is_ok_since_run_repairs_it(root: Path) -> None:
    check, *_ = checks_of(root, loopback(can=0))
    assert check.state == OK
    assert "run repairs it" in check.text


@linux_only
def test_a_virtual_camera_without_permission_is_missing_with_the_group(root: Path) -> None:
    check, *_ = checks_of(root, loopback(can=0, problem="Permission denied"))
    assert (check.state, check.remedy) == (MISSING, kernel_module.GROUP)


@linux_only
def test_a_module_before_0_13_should_be_replaced(root: Path) -> None:
    (root / "sys/module/v4l2loopback/version").unlink()
    check = checks_of(root, loopback())[1]
    assert check.state == WARNING
    assert "0.13 or later" in (check.remedy or "")


@linux_only
def test_a_device_without_exclusive_caps_is_a_warning(root: Path) -> None:
    parameters = root / "sys/module/v4l2loopback/parameters"
    (parameters / "video_nr").write_text("9,10,-1\n")
    (parameters / "exclusive_caps").write_text("Y,N,N\n")
    checks = checks_of(root, loopback("OBS Virtual Camera", 9), loopback(can=BOTH))
    warnings = [check.text for check in checks if check.state == WARNING]
    line = "/dev/video10 has exclusive_caps=0: Chrome, Zoom and others do not list it"
    assert warnings == [line]


@linux_only
@pytest.mark.parametrize("file", ["etc/modules", "usr/lib/modules-load.d/video.conf"])
def test_a_module_that_is_not_loaded_at_boot_is_a_note(root: Path, file: str) -> None:
    (root / "etc/modules-load.d/v4l2loopback.conf").write_text("# v4l2loopback\n")
    assert checks_of(root, loopback())[-1].remedy == kernel_module.PERSIST
    write(root, file, "v4l2loopback\n")
    assert checks_of(root, loopback())[-1].state == OK


def test_two_builds_of_opencv_conflict() -> None:
    versions = {"opencv-python": "4.12", "opencv-python-headless": "5.0"}
    assert machine_checks.packages(versions)[1].state == MISSING
    assert len(machine_checks.packages({"opencv-python-headless": "5.0"})) == 1


GPU = Accelerator("RTX 4090", 24 * 2**30, 23 * 2**30, "580.1")
CPU = CpuInfo("Some CPU", 8, 16, 32 * 2**30, ())


def test_a_gpu_is_shown_with_its_memory_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    check = machine_checks.accelerator([GPU], CPU, "2.13.0")
    assert (check.state, check.text) == (OK, "RTX 4090, 23.0 of 24.0 GiB free, driver 580.1")


def test_a_gpu_with_a_torch_build_for_cpus_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    check = machine_checks.accelerator([GPU], CPU, "2.13.0+cpu")
    assert check.state == WARNING
    assert "torch 2.13.0+cpu cannot use it" in check.text


def test_a_gpu_with_an_error_is_a_warning_in_the_words_of_the_driver() -> None:
    broken = Accelerator("NVIDIA", 0, 0, "", "Driver/library version mismatch")
    check = machine_checks.accelerator([broken], CPU, "2.13.0")
    assert (check.state, check.text) == (WARNING, "NVIDIA: Driver/library version mismatch")


def test_no_gpu_is_a_note_with_the_cores_of_the_cpu() -> None:
    check = machine_checks.accelerator([], CPU, "2.13.0")
    assert check.state == NOTE
    assert "Some CPU, 8 cores" in check.text


@pytest.mark.parametrize(
    ("features", "gains"),
    [((), False), (("AVX2",), True), (("AVX2", "AVX-512"), True), (("AVX2", "bf16"), False)],
)
def test_int8_is_named_where_a_cpu_gains_by_it(features: tuple[str, ...], gains: bool) -> None:
    cpu = CpuInfo("Some CPU", 2, 4, 8 * 2**30, features)
    check = machine_checks.accelerator([], cpu, "2.13.0")
    assert check.remedy is not None
    assert ("--dtype int8" in check.remedy) == gains


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_a_warning(kind: socket.SocketKind) -> None:
    with port_in_use(kind) as number:
        check = machine_checks.port("osc_port", kind, "127.0.0.1", number)
        assert check.state == WARNING
        assert "--set osc_port=NUMBER" in (check.remedy or "")
    assert machine_checks.port("osc_port", kind, "127.0.0.1", number).state == OK


def test_a_full_disk_is_a_warning_but_a_missing_folder_is_not(
    tmp_path: Path,
) -> None:
    assert machine_checks.disk(tmp_path / "not" / "yet", 1, "models").state == OK
    assert machine_checks.disk(tmp_path, 1e18, "models").state == WARNING


def run(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``streamcam doctor`` with an empty cache; stderr lists the heavy modules it imported."""
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


def test_doctor_prints_json_without_importing_torch(tmp_path: Path) -> None:
    result = run(tmp_path, "--json", "--sink", "null", "--osc-port", "0", "--preview-port", "0")
    output = json.loads(result.stdout)
    assert result.returncode == 0, result.stdout
    assert output["ok"] is True
    names = [check["name"] for check in output["checks"]]
    assert names[0] == "camera"
    assert {"accelerator", "models", "disk", "osc_port", "preview_port", "packages"} <= set(names)
    assert result.stderr == "heavy: []\n"


def test_doctor_does_not_wrap_remedies_and_exits_with_1_if_something_is_missing(
    tmp_path: Path,
) -> None:
    if sys.platform != "linux":
        pytest.skip("a virtual camera is reported missing only on Linux")
    result = run(tmp_path, "--sink", "virtual-camera:no such label")
    assert result.returncode == 1
    assert "✗ virtual camera" in result.stdout
    assert "→ if they cannot: --mirror" in result.stdout


def test_doctor_refuses_unknown_settings(tmp_path: Path) -> None:
    result = run(tmp_path, "--set", "osc_prot=1")
    assert result.returncode == 2
    assert 'did you mean "osc_port"?' in result.stderr


def test_doctor_imports_no_heavy_module(tmp_path: Path) -> None:
    # With all checks, so that none of them imports a library that takes seconds.
    assert run(tmp_path, "--json").stderr == "heavy: []\n"
