"""Engines on disk are complete or absent, whatever happens to the process or to the files."""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamcam.engines.store import ABANDONED_S, MANIFEST, UNFINISHED, Store
from streamcam.errors import EngineError

KEY = "0123"


def store_engine(store: Store, content: bytes = b"weights", key: str = KEY) -> None:
    with store.create(key, {"psnr": 50.0}) as folder:
        (folder / "engine.blob").write_bytes(content)


def test_a_stored_engine_is_found_with_its_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path / "engines")
    assert store.find(KEY) is None
    store_engine(store)
    found = store.find(KEY)
    assert found is not None
    assert (found.folder / "engine.blob").read_bytes() == b"weights"
    assert found.manifest["psnr"] == 50.0
    assert [entry.key for entry in store.entries()] == [KEY]


@pytest.mark.parametrize("name", ["engine.blob", MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_engine_is_not_found_and_is_replaced(
    tmp_path: Path, name: str, damage: str
) -> None:
    store = Store(tmp_path)
    store_engine(store)
    file = tmp_path / KEY / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-3] if damage == "cut" else b"\0" + content[1:])
    assert store.find(KEY) is None
    store_engine(store, b"rebuilt")
    found = store.find(KEY)
    assert found is not None
    assert (found.folder / "engine.blob").read_bytes() == b"rebuilt"


MADE = '"made": "2026-01-01"'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"files": []}', "\x00", "[" * 100_000, "\ud800"),
        '{"files": {}, "psnr": 50.0}',
        f'{{"files": {{}}, {MADE}}}',
        f'{{"files": {{}}, {MADE}, "psnr": "high"}}',
        f'{{"files": {{"engine.blob": {{"bytes": 7}}}}, {MADE}, "psnr": 50.0}}',
        f'{{"files": {{}}, {MADE}, "ms": ["openvino"]}}',
        f'{{"files": {{}}, {MADE}, "ms": {{"openvino": NaN}}}}',
        f'{{"files": {{}}, {MADE}, "psnr": 50.0, "identity": {{"inputs": 3}}}}',
    ],
)
def test_an_invalid_manifest_is_a_damaged_engine(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store_engine(store)
    (tmp_path / KEY / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert store.find(KEY) is None
    assert [entry.manifest for entry in store.entries()] == [{}]


def test_a_build_that_fails_leaves_nothing_and_the_old_engine_in_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store_engine(store)

    def fail() -> None:
        with store.create(KEY, {}) as folder:
            (folder / "engine.blob").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    found = store.find(KEY)
    assert found is not None
    assert (found.folder / "engine.blob").read_bytes() == b"weights"


def test_leftovers_of_killed_builds_are_removed_but_not_those_in_progress(tmp_path: Path) -> None:
    old, fresh = tmp_path / f"{UNFINISHED}old", tmp_path / f"{UNFINISHED}fresh"
    for folder in (old, fresh):
        folder.mkdir()
    long_ago = old.stat().st_mtime - 2 * ABANDONED_S
    os.utime(old, (long_ago, long_ago))
    store_engine(Store(tmp_path))
    assert not old.exists()
    assert fresh.exists()
    assert [entry.key for entry in Store(tmp_path).entries()] == [KEY]


def test_a_complete_engine_stays_when_it_is_built_again_and_figures_are_renewed(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    store_engine(store)
    store_engine(store, b"another")
    found = store.find(KEY)
    assert found is not None
    assert (found.folder / "engine.blob").read_bytes() == b"weights"
    for ms in (2.0, 1.0):
        with store.create("4567", {"ms": {"openvino": ms}}):
            pass
    figures = store.find("4567")
    assert figures is not None
    assert figures.manifest["ms"] == {"openvino": 1.0}
    assert len(list(tmp_path.iterdir())) == 2


def test_many_may_build_the_same_engine_at_once_and_all_find_it(tmp_path: Path) -> None:
    keys, builders = [f"{number:04}" for number in range(40)], 4
    for number in range(20):
        old = tmp_path / f"{UNFINISHED}{number}"
        old.mkdir()
        long_ago = old.stat().st_mtime - 2 * ABANDONED_S
        os.utime(old, (long_ago, long_ago))
    damaged = tmp_path / keys[0]
    damaged.mkdir()
    (damaged / MANIFEST).touch()
    together = threading.Barrier(builders, timeout=60)

    def build(_: int) -> list[bool]:
        found = []
        for key in keys:
            together.wait()
            store_engine(Store(tmp_path), key=key)
            found.append(Store(tmp_path).find(key) is not None)
        return found

    with ThreadPoolExecutor(builders) as pool:
        assert all(all(found) for found in pool.map(build, range(builders)))
    assert sorted(path.name for path in tmp_path.iterdir()) == keys


def test_an_engine_that_two_remove_at_once_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store_engine(store)
    (entry,) = store.entries()
    store.remove(entry)
    store.remove(entry)
    assert entry.bytes == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits the size of files")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(EngineError, match=r"cannot store engines in .*engine_dir"):
            store_engine(Store(tmp_path), b"")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_an_error_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="engine_dir"):
        store_engine(Store(tmp_path / "file" / "engines"))


def test_the_manifest_is_readable_json(tmp_path: Path) -> None:
    store_engine(Store(tmp_path))
    manifest = json.loads((tmp_path / KEY / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["files"]["engine.blob"]["bytes"] == len(b"weights")
    assert {"made", "seconds", "psnr"} <= manifest.keys()
