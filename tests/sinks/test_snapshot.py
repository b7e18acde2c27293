import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from streamcam.errors import MediaError, StreamcamError
from streamcam.sinks import snapshot
from streamcam.sinks.snapshot import SnapshotWriter, save_snapshot
from tests.support.media import noise, read
from tests.support.scenes import FakeBroadcastView

NOON = datetime(2026, 11, 22, 12, 0, 5)


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_raised_counter_saves_the_output_once(tmp_path: Path) -> None:
    view = FakeBroadcastView()
    frames = noise(5)
    with SnapshotWriter(tmp_path, view, lambda: NOON) as sink:
        for frame in frames:
            if frame.index == 2:
                view.change(snapshot=1)
            sink.send(frame)
    assert file_names(tmp_path) == ["streamcam-20261122-120005.png"]
    assert sink.saved == tmp_path / "streamcam-20261122-120005.png"
    (saved,) = read(tmp_path / "streamcam-20261122-120005.png")
    assert np.array_equal(saved.image, frames[2].image)


def test_a_counter_above_zero_at_the_start_requests_nothing(tmp_path: Path) -> None:
    view = FakeBroadcastView()
    view.change(snapshot=4)
    with SnapshotWriter(tmp_path, view) as sink:
        sink.send(noise(1)[0])
    assert not file_names(tmp_path)


def test_snapshots_of_one_second_are_numbered_and_none_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "streamcam-20261122-120005-2.png").write_text("mine")
    for frame in noise(3):
        save_snapshot(frame.image, tmp_path, NOON)
    names = [f"streamcam-20261122-120005{n}.png" for n in ("", "-2", "-3", "-4")]
    assert file_names(tmp_path) == sorted(names)
    assert (tmp_path / names[1]).read_text() == "mine"


def test_the_folder_is_made_when_it_is_needed(tmp_path: Path) -> None:
    path = save_snapshot(noise(1)[0].image, tmp_path / "shots" / "tonight", NOON)
    assert file_names(tmp_path / "shots" / "tonight") == [path.name]


def test_a_failed_save_is_reported_once_and_leaves_nothing(tmp_path: Path) -> None:
    view = FakeBroadcastView()
    folder = tmp_path / "file"
    folder.write_text("in the way")
    sink = SnapshotWriter(folder, view, lambda: NOON)
    with sink:
        view.change(snapshot=1)
        with pytest.raises(MediaError, match=r"cannot save a snapshot into .*/file: "):
            sink.send(noise(1)[0])
    folder.unlink()
    with sink:
        sink.send(noise(1)[0])
        assert not list(tmp_path.iterdir())
        view.change(snapshot=2)
        sink.send(noise(1)[0])
    assert file_names(folder) == ["streamcam-20261122-120005.png"]


def test_a_snapshot_requested_while_the_sink_is_closed_is_saved_when_it_opens_again(
    tmp_path: Path,
) -> None:
    view = FakeBroadcastView()
    sink = SnapshotWriter(tmp_path, view)
    with sink:
        sink.send(noise(1)[0])
    view.change(snapshot=1)
    with sink:
        sink.send(noise(1)[0])
    assert len(file_names(tmp_path)) == 1


def test_an_interrupted_save_leaves_no_partial_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MediaError, match=r"the disk is full; free some space"):
        snapshot.save_snapshot(noise(1)[0].image, tmp_path, NOON)
    assert not file_names(tmp_path)


def test_a_snapshot_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    view = FakeBroadcastView()
    with SnapshotWriter(tmp_path, view, lambda: NOON) as sink:
        view.change(snapshot=1)
        sink.send(noise(1)[0])
    assert caplog.messages == [f"saved the snapshot {tmp_path / 'streamcam-20261122-120005.png'}"]


def take_one(folder: Path | None) -> None:
    view = FakeBroadcastView()
    with SnapshotWriter(folder, view, lambda: NOON) as sink:
        view.change(snapshot=1)
        sink.send(noise(1)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not ask the environment")
def test_snapshots_go_to_the_pictures_folder_and_not_where_streamcam_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_PICTURES_DIR", str(tmp_path / "pictures"))
    take_one(None)
    take_one(Path("~/shots"))
    assert file_names(tmp_path / "pictures" / "streamcam") == ["streamcam-20261122-120005.png"]
    assert file_names(tmp_path / "home" / "shots") == ["streamcam-20261122-120005.png"]
    assert file_names(tmp_path) == ["home", "pictures"]


def test_without_a_home_folder_a_snapshot_is_refused_and_none_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(StreamcamError, match="no home folder is known for snapshots; set HOME"):
        take_one(None)
    assert file_names(tmp_path) == []
