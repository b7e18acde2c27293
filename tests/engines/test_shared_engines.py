"""Engines that machines share behind a URL: found, checked, and never in the way."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamcam.engines.shared_engines import SharedEngines
from streamcam.engines.store import MANIFEST, Entry, Store
from streamcam.errors import ConfigError

KEY = "0123"
CONTENT = b"weights" * 1000


class Machine:
    """A machine with a store of its own, and one that it shares."""

    def __init__(self, folder: Path, url: str) -> None:
        self.lines: list[str] = []
        self.store = Store(folder, SharedEngines(url, self.lines.append))

    def build(self, **manifest: Any) -> None:
        with self.store.create(KEY, manifest or {"psnr": 50.0}) as folder:
            (folder / "engine.blob").write_bytes(CONTENT)

    def found(self) -> Entry | None:
        return self.store.find(KEY)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "shared"
    return f"{request.param}://{path.as_posix()}"


def test_one_machine_builds_and_the_others_copy(tmp_path: Path, url: str) -> None:
    first, second = Machine(tmp_path / "a", url), Machine(tmp_path / "b", url)
    first.build()
    found = second.found()
    assert found is not None
    assert (found.folder / "engine.blob").read_bytes() == CONTENT
    assert found.manifest["psnr"] == 50.0
    assert first.lines == second.lines == []
    # From now on it needs the other one no more.
    assert Store(tmp_path / "b").find(KEY) is not None


def test_refusals_and_timings_stay_on_their_machine(tmp_path: Path, url: str) -> None:
    Machine(tmp_path / "a", url).build(refused="too far from float32")
    assert Machine(tmp_path / "b", url).found() is None


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return the folder of an engine that another machine has shared."""
    Machine(tmp_path / "a", str(tmp_path / "shared")).build()
    return tmp_path / "shared" / KEY


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT + b"more", b"x" + CONTENT[1:]])
def test_a_damaged_file_is_not_used(tmp_path: Path, shared: Path, damage: bytes) -> None:
    (shared / "engine.blob").write_bytes(damage)
    machine = Machine(tmp_path / "b", str(shared.parent))
    assert machine.found() is None
    assert "engine.blob of engine 0123" in machine.lines[0]
    assert not list((tmp_path / "b").glob("*/engine.blob"))
    machine.build()
    assert machine.found() is not None


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/b", "", "..", MANIFEST])
def test_no_manifest_names_a_path(tmp_path: Path, shared: Path, name: str) -> None:
    manifest = json.loads((shared / MANIFEST).read_text())
    manifest["files"] = {name: manifest["files"]["engine.blob"]}
    (shared / MANIFEST).write_text(json.dumps(manifest))
    machine = Machine(tmp_path / "b", str(shared.parent))
    assert machine.found() is None
    assert "is no name of a file" in machine.lines[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}'])
def test_a_manifest_that_is_none_is_reported_once(tmp_path: Path, shared: Path, text: str) -> None:
    (shared / MANIFEST).write_text(text)
    machine = Machine(tmp_path / "b", str(shared.parent))
    assert machine.found() is None
    assert machine.found() is None
    assert len(machine.lines) == 1


def test_a_store_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file, no folder")
    machine = Machine(tmp_path / "a", str(tmp_path / "shared"))
    machine.build()
    assert machine.found() is not None
    assert "engine_store" in machine.lines[0]


def test_an_unknown_kind_of_url_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError, match="engine_store nosuch://host/x") as failure:
        SharedEngines("nosuch://me:secret@host/x", print)
    assert "secret" not in str(failure.value)
