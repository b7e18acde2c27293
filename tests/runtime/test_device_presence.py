from pathlib import Path

import pynvml
import pytest

from streamcam.runtime import device_presence
from streamcam.runtime.device_presence import device_kind, is_certain, torch_backends


def equip(
    patch: pytest.MonkeyPatch, root: Path, *, gpus: int = 0, built_for: str = "", node: str = ""
) -> None:
    """Give the machine NVIDIA GPUs, a build of torch, and a device node of another GPU."""
    patch.setattr(pynvml, "nvmlInit", lambda: None)
    patch.setattr(pynvml, "nvmlShutdown", lambda: None)
    patch.setattr(pynvml, "nvmlDeviceGetCount", lambda: gpus)
    patch.setattr(device_presence, "torch_backends", lambda: frozenset(built_for.split()))
    patch.setattr(device_presence, "ROOT", root)
    patch.setattr(device_presence, "_is_apple_silicon", lambda: node == "metal")
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if node.startswith("dev/"):
        (root / node).parent.mkdir(parents=True)
        (root / node).touch()


@pytest.mark.parametrize(
    ("gpus", "built_for", "node", "kind"),
    [
        (0, "", "", "cpu"),
        (0, "cuda", "", "cpu"),
        (1, "", "", "cpu"),
        (1, "cuda", "", "cuda"),
        (0, "hip", "dev/kfd", "cuda"),
        (0, "hip", "", "cpu"),
        (0, "xpu", "dev/dri/renderD128", "xpu"),
        (0, "", "dev/dri/renderD128", "cpu"),
        (0, "", "metal", "mps"),
    ],
)
def test_auto_is_a_gpu_only_where_there_is_one_and_torch_is_built_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: int, built_for: str, node: str, kind: str
) -> None:
    equip(monkeypatch, tmp_path, gpus=gpus, built_for=built_for, node=node)
    assert device_kind("auto") == kind
    assert is_certain("auto")


def test_a_device_asked_for_is_taken_at_its_word() -> None:
    assert [device_kind(name) for name in ("cpu", "cuda:3", "mps")] == ["cpu", "cuda", "mps"]


@pytest.mark.parametrize(
    ("visible", "certain"),
    [
        (None, ["cuda", "cuda:0", "cuda:1"]),
        ("1", ["cuda", "cuda:0"]),
        ("GPU-12,GPU-34", ["cuda", "cuda:0", "cuda:1"]),
        ("0,-1,1", ["cuda", "cuda:0"]),
        ("-1", []),
        ("", []),
    ],
)
def test_a_gpu_is_certain_if_its_number_is_visible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, certain: list[str]
) -> None:
    equip(monkeypatch, tmp_path, gpus=2, built_for="cuda")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked = ["cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:7", "xpu", "mps"]
    assert [name for name in asked if is_certain(name)] == certain


def test_a_driver_that_fails_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    equip(monkeypatch, tmp_path, gpus=1, built_for="cuda")

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert device_kind("auto") == "cpu"


def test_the_installed_torch_is_read_without_importing_it() -> None:
    import torch

    built = {"cuda": torch.version.cuda, "hip": torch.version.hip, "xpu": torch.version.xpu}
    assert torch_backends() == {name for name, version in built.items() if version}
