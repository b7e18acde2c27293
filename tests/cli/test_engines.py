"""``streamcam engines``: list, build and remove."""

import dataclasses
from pathlib import Path

import pytest

from streamcam.cli import _run, streamcam
from streamcam.engines.build_progress import ProgressLine, Report
from streamcam.engines.store import MANIFEST, Store
from streamcam.pipelines import PIPELINES
from streamcam.settings.config import Config

IDENTITY = {
    "engine": "openvino",
    "dtype": "bfloat16",
    "stage": "Denoise",
    "inputs": ["float32 (4, 4, 64, 64)"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with two engines, one of them refused."""
    store = Store(tmp_path)
    for key, result in (("aa11", {"psnr": 47.1}), ("bb22", {"refused": "21.0 dB, too few"})):
        with store.create(key, {"identity": IDENTITY} | result) as folder:
            (folder / "engine.blob").write_bytes(b"0" * 2_000_000)
    return store


def engines(
    capsys: pytest.CaptureFixture[str], store: Store, *words: str
) -> tuple[int, list[str], str]:
    arguments = ["engines", *words, "--engine-dir", str(store.folder)]
    code = _run(lambda **options: streamcam.main(arguments, **options))
    output = capsys.readouterr()
    return code, output.out.splitlines(), output.err


def test_list_shows_the_stage_and_accuracy_of_each_engine(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.folder / "bb22" / MANIFEST).write_text("half")
    code, lines, _ = engines(capsys, store, "list")
    assert code == 0
    for word in ("aa11", "2.0 MB", "openvino bfloat16", "denoise (4, 4, 64, 64)", "47 dB"):
        assert word in lines[0]
    assert "bb22" in lines[1]
    assert "damaged" in lines[1]


def test_a_refused_engine_is_listed_with_the_figure(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines, _ = engines(capsys, store, "list")
    assert any("refused: 21.0 dB" in line for line in lines)


def test_remove_accepts_the_start_of_a_key_or_all(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines(capsys, store, "remove", "aa")[0] == 0
    assert [entry.key for entry in store.entries()] == ["bb22"]
    assert engines(capsys, store, "remove", "--all")[0] == 0
    assert engines(capsys, store, "list")[1] == [f"no engines in {store.folder}"]


def test_remove_refuses_an_unknown_key_and_removes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = engines(capsys, store, "remove", "aa", "cc")
    assert code == 1
    assert "no engine cc" in errors
    assert len(store.entries()) == 2
    assert engines(capsys, store, "remove")[0] == 2


def test_float8_on_a_cpu_is_refused_with_the_reason(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", "random:tiny-sd-turbo", "--device", "cpu", "--dtype", "float8")
    arguments = ["engines", "build", *model, "--set", f"engine_dir={store.folder}"]
    assert _run(lambda **options: streamcam.main(arguments, **options)) == 1
    output = capsys.readouterr()
    assert "runs on NVIDIA GPUs, not on cpu; choose --device cuda" in output.err
    assert len(store.entries()) == 2


@pytest.mark.parametrize("flags", [(), ("--tune",)])
def test_tune_reaches_the_builder_and_progress_stays_out_of_pipes(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:
    asked: list[bool] = []

    def build(config: Config, report: Report, tunes: bool) -> None:
        asked.append(tunes)
        report("building it")
        report(ProgressLine("building it: compiling, 1 s"))
        report("it is ready")

    image = dataclasses.replace(PIPELINES["image"], build_engines=build)
    monkeypatch.setitem(PIPELINES, "image", image)
    model = ("--model", "random:tiny-sd-turbo", "--acceleration", "eager")
    arguments = ["engines", "build", *model, "--set", f"engine_dir={store.folder}", *flags]
    assert _run(lambda **options: streamcam.main(arguments, **options)) == 0
    assert asked == [bool(flags)]
    assert capsys.readouterr().out.splitlines() == ["building it", "it is ready"]


def test_all_removes_the_times_of_kernels_too(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    times = store.folder / "timings-1234.cache"
    times.write_bytes(b"times")
    assert engines(capsys, store, "remove", "aa")[0] == 0
    assert times.exists()
    assert engines(capsys, store, "remove", "--all")[0] == 0
    assert not times.exists()
