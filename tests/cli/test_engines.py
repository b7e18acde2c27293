"""``streamcam engines``: what is there, and away with it."""

from pathlib import Path

import pytest

from streamcam.cli import _run, streamcam
from streamcam.engines.store import MANIFEST, Store

IDENTITY = {
    "engine": "openvino",
    "dtype": "bfloat16",
    "stage": "Denoise",
    "inputs": ["float32 (4, 4, 64, 64)"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with two engines, of which one was refused."""
    store = Store(tmp_path)
    for key, verdict in (("aa11", {"psnr": 47.1}), ("bb22", {"refused": "21.0 dB, too few"})):
        with store.create(key, {"identity": IDENTITY} | verdict) as folder:
            (folder / "engine.blob").write_bytes(b"0" * 2_000_000)
    return store


def engines(
    capsys: pytest.CaptureFixture[str], store: Store, *words: str
) -> tuple[int, list[str], str]:
    arguments = ["engines", *words, "--engine-dir", str(store.folder)]
    code = _run(lambda **how: streamcam.main(arguments, **how))
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_list_tells_what_each_is_for_and_how_near_it_comes(
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


def test_remove_takes_the_beginning_of_a_key_or_all(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines(capsys, store, "remove", "aa")[0] == 0
    assert [entry.key for entry in store.entries()] == ["bb22"]
    assert engines(capsys, store, "remove", "--all")[0] == 0
    assert engines(capsys, store, "list")[1] == [f"no engines in {store.folder}"]


def test_remove_refuses_what_is_not_there_and_takes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = engines(capsys, store, "remove", "aa", "cc")
    assert code == 1
    assert "no engine cc" in said
    assert len(store.entries()) == 2
    assert engines(capsys, store, "remove")[0] == 2


def test_float8_is_built_as_asked_and_where_it_cannot_be_that_is_said(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", "random:tiny-sd-turbo", "--device", "cpu", "--dtype", "float8")
    arguments = ["engines", "build", *model, "--set", f"engine_dir={store.folder}"]
    assert _run(lambda **how: streamcam.main(arguments, **how)) == 1
    told = capsys.readouterr()
    assert "tensorrt runs on NVIDIA GPUs, not on cpu; choose --device cuda" in told.err
    assert len(store.entries()) == 2
