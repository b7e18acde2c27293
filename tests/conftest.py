"""What the tests share: small random models, in the layouts that real ones come in."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch

pytest_plugins = ["tests.support.parallel"]

os.environ["HF_HUB_OFFLINE"] = "1"
# Presets of whoever runs the tests are none of theirs.
os.environ["XDG_CONFIG_HOME"] = "/no/such/folder"
# Two threads that wait for each other on busy cores make tiny models fifty times slower, here
# and in the processes that tests start.
torch.set_num_threads(1)
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
# Inductor's own settings: the code that calls the compiled kernels is built without optimisation
# and without line numbers; the kernels are built as ever.
os.environ["AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL"] = "O0"
os.environ["AOT_INDUCTOR_ENABLE_LINE_TABLES"] = "0"
# A shell that runs the tests in the background has its children ignore Ctrl-C, and theirs too.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # And nohup has them ignore a closed terminal.

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny random model in diffusers layout, made on first use."""
    from tests.support.layouts import save_pipeline, save_tiny_vae

    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            save_tiny_vae(path) if name == "taesd" else save_pipeline(name, path)
        return path

    return folder


@pytest.fixture
def deleted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the current one and delete it; return its path."""
    if sys.platform == "win32":
        pytest.skip("a folder in use cannot be deleted on Windows")
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """Let a log hold half a character: a worker ends the whole run when its report has one."""
    del item
    report = yield
    report.sections = [(name, as_utf8(text)) for name, text in report.sections]
    return report


def as_utf8(text: str) -> str:
    """Return `text` with what is no Unicode as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
