"""Hashes are remembered as long as nobody can have changed what they were computed from."""

import os
import stat
import threading
from pathlib import Path

import pytest

from streamcam.engines import hash_memory
from streamcam.engines.hash_memory import FILE, HashMemory

CONTENT = b"weights"


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let files have settled at once; return the list that the paths of hashed files go into."""
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_FINE_S", -1.0)
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_COARSE_S", -1.0)
    names: list[str] = []
    digest = hash_memory.hashlib.file_digest

    def counted(file, name):  # type: ignore[no-untyped-def]
        names.append(name)
        return digest(file, name)

    monkeypatch.setattr(hash_memory.hashlib, "file_digest", counted)
    (tmp_path / "file").write_bytes(CONTENT)
    return names


def test_a_file_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    first = HashMemory(tmp_path).file_hash(tmp_path / "file")
    assert HashMemory(tmp_path).file_hash(tmp_path / "file") == first
    assert len(hashed) == 1


def test_a_changed_file_is_hashed_again(tmp_path: Path, hashed: list[str]) -> None:
    first = HashMemory(tmp_path).file_hash(tmp_path / "file")
    (tmp_path / "file").write_bytes(CONTENT + b"!")
    assert HashMemory(tmp_path).file_hash(tmp_path / "file") != first
    assert len(hashed) == 2


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hash_memory.hashlib.file_digest

    def changing(file, name):  # type: ignore[no-untyped-def]
        result = digest(file, name)
        (tmp_path / "file").write_bytes(b"another, longer")
        return result

    monkeypatch.setattr(hash_memory.hashlib, "file_digest", changing)
    HashMemory(tmp_path).file_hash(tmp_path / "file")
    HashMemory(tmp_path).file_hash(tmp_path / "file")
    assert len(hashed) == 2


def test_a_file_that_has_just_been_written_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_FINE_S", 1e6)
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_COARSE_S", 1e6)
    for _ in range(2):
        HashMemory(tmp_path).file_hash(tmp_path / "file")
    assert len(hashed) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"hashes": 3}', b"\xff\0", b'{"hashes": {"a": {}}}']
)
def test_a_damaged_memory_is_replaced(tmp_path: Path, hashed: list[str], content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    for _ in range(2):
        HashMemory(tmp_path).file_hash(tmp_path / "file")
    assert len(hashed) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows keeps other users out otherwise")
def test_a_memory_that_others_can_write_is_not_trusted(tmp_path: Path, hashed: list[str]) -> None:
    HashMemory(tmp_path).file_hash(tmp_path / "file")
    (tmp_path / FILE).chmod(0o666)
    HashMemory(tmp_path).file_hash(tmp_path / "file")
    assert len(hashed) == 2
    assert not (tmp_path / FILE).stat().st_mode & stat.S_IWOTH, "and it was written again"


def test_hashes_need_no_place_to_be_remembered_in(tmp_path: Path, hashed: list[str]) -> None:
    for _ in range(2):
        HashMemory(tmp_path / "no such folder").file_hash(tmp_path / "file")
    assert len(hashed) == 2


def test_several_processes_may_share_a_memory(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=HashMemory(tmp_path).remember, args=(f"{i}", "same", "hash"))
        for i in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remembered = [HashMemory(tmp_path).recall(f"{i}", "same") for i in range(16)]
    assert set(remembered) <= {"hash", None}
    assert "hash" in remembered
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE]


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_memory, "MAX_ENTRIES", 2)
    memory = HashMemory(tmp_path)
    for name in "abc":
        memory.remember(name, "same", "hash")
    assert [memory.recall(name, "same") for name in "abc"] == [None, "hash", "hash"]


def test_a_path_of_any_bytes_is_remembered(tmp_path: Path, hashed: list[str]) -> None:
    odd = tmp_path / os.fsdecode(b"\xff file")
    try:
        odd.write_bytes(CONTENT)
    except OSError:
        pytest.skip("this file system holds names in Unicode only")
    for _ in range(2):
        HashMemory(tmp_path).file_hash(odd)
    assert len(hashed) == 1
