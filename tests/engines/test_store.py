"""Engines on disk are complete or absent, whatever happens to the process or to the files."""

import json
import os
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', "\x00"])
def test_an_invalid_manifest_is_a_damaged_engine(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store_engine(store)
    (tmp_path / KEY / MANIFEST).write_text(text, encoding="utf-8")
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


def test_a_folder_that_cannot_be_written_to_is_an_error_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="engine_dir"):
        store_engine(Store(tmp_path / "file" / "engines"))


def test_the_manifest_is_readable_json(tmp_path: Path) -> None:
    store_engine(Store(tmp_path))
    manifest = json.loads((tmp_path / KEY / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["files"]["engine.blob"]["bytes"] == len(b"weights")
    assert {"made", "seconds", "psnr"} <= manifest.keys()
