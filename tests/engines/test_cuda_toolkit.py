"""CUDA's headers are found where no toolkit is installed, and passed to the compilers."""

import os
from pathlib import Path

import pytest
from torch.utils import cpp_extension

from streamcam.engines import cuda_toolkit
from streamcam.engines.cuda_toolkit import cuda_for_compilers, toolkit
from streamcam.errors import EngineError


def folder_with_headers(path: Path) -> Path:
    for header in cuda_toolkit.HEADERS:
        (path / "include" / header).parent.mkdir(parents=True, exist_ok=True)
        (path / "include" / header).touch()
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a package that torch's wheels for CUDA bring."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cuda_toolkit, "WHEELS", ("not_there.cu13", "wheels_for_cuda.cu13"))
    return folder_with_headers(tmp_path / "wheels_for_cuda" / "cu13")


def test_a_toolkit_is_taken_before_the_wheels(tmp_path: Path, wheel: Path) -> None:
    installed = folder_with_headers(tmp_path / "toolkit")
    assert toolkit([installed]) == installed
    # One without some of the headers, such as CUDA's wheel of the runtime alone.
    (installed / "include" / "crt" / "host_defines.h").unlink()
    assert toolkit([installed]) == wheel


def test_without_headers_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_toolkit, "WHEELS", ())
    with pytest.raises(EngineError, match=r"headers are missing, .*streamcam\[compiled\]"):
        toolkit([])


def test_compilers_find_them_and_nothing_is_left_of_it(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    monkeypatch.setenv("CPATH", "/own")
    monkeypatch.delenv("LIBRARY_PATH", raising=False)
    with cuda_for_compilers(tmp_path / "driver"):
        first, _, last = os.environ["CPATH"].split(os.pathsep)
        assert (first, last) == (str(wheel / "include"), "/own")
        assert str(wheel) == cpp_extension.CUDA_HOME
        assert str(wheel / "include") in cpp_extension.include_paths("cuda")
    assert os.environ["CPATH"] == "/own"
    assert "LIBRARY_PATH" not in os.environ
    assert cpp_extension.CUDA_HOME is None
