"""Every kind of output file is complete or absent."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import rename_to_free, temporary_path
from streamcam.sinks.sink_table import open_file_sink
from streamcam.types import Frame
from tests.support.media import RATE, noise, read, run_script, write

OUTPUTS = ["a.mkv", "a.mp4", "a.mov", "a.webm", "a.npy", "a.png", "folder"]

# Writes frames until that fails, with SIGXFSZ ignored, and prints the error.
FILL = """
import numpy as np
from streamcam.sinks.sink_table import open_file_sink
from streamcam.errors import MediaError
from streamcam.types import Frame

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit, count = int(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
images = np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)
printed = "nothing"
try:
    with open_file_sink(path, Fraction(30)) as sink:
        for index, image in enumerate(images):
            sink.send(Frame(image, index, index / 30))
except MediaError as error:
    printed = str(error)
print(printed)
"""


def frames_for(name: str, count: int = 40) -> int:
    return 1 if name.endswith(".png") else count


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_appears_only_when_it_is_complete(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with open_file_sink(path, RATE) as sink:
        for frame in noise(frames_for(name)):
            sink.send(frame)
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert len(read(path)) == frames_for(name)


def stop_with(error: BaseException, path: Path, frames: list[Frame]) -> None:
    """Write `frames`, then raise `error` before the output is complete."""
    with open_file_sink(path, RATE) as sink:
        for frame in frames:
            sink.send(frame)
        raise error


@pytest.mark.parametrize("name", OUTPUTS)
def test_after_an_error_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="broken"):
        stop_with(ValueError("broken"), tmp_path / name, noise(frames_for(name)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OUTPUTS[:-1])
def test_after_an_error_the_earlier_output_is_untouched(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, noise(1))
    before = path.read_bytes()
    with pytest.raises(MediaError):
        stop_with(MediaError("the input is damaged"), path, noise(1, seed=1))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", OUTPUTS)
def test_after_an_interruption_what_was_rendered_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        stop_with(KeyboardInterrupt(), path, noise(frames_for(name)))
    assert not path.exists()
    assert len(read(temporary_path(path))) == frames_for(name)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_interruption_before_the_first_frame_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_with(KeyboardInterrupt(), tmp_path / name, [])
    assert not list(tmp_path.iterdir())


FILES = OUTPUTS[:-1]


@pytest.mark.parametrize("name", FILES)
def test_an_existing_file_is_refused_and_replaced_only_on_request(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"mine")
    with pytest.raises(MediaError, match=r"exists; choose another name, or replace it with --over"):
        open_file_sink(path, RATE, overwrite=False)
    assert path.read_bytes() == b"mine"
    with open_file_sink(path, RATE, overwrite=True) as sink:
        sink.send(noise(1)[0])
    assert len(read(path)) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_link_at_the_output_is_refused_and_what_it_leads_to_stays(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    for number, target in enumerate(("mine", "nowhere")):
        path = tmp_path / f"{number}{name}"
        path.symlink_to(tmp_path / target)
        with pytest.raises(MediaError, match="exists; choose another name"):
            open_file_sink(path, RATE, overwrite=False)
        with open_file_sink(path, RATE, overwrite=True) as sink:
            sink.send(noise(1)[0])
        assert not path.is_symlink()
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes have names on POSIX")
def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mkv")
    with pytest.raises(MediaError, match="is a pipe or a device, not a file; choose another name"):
        open_file_sink(tmp_path / "a.mkv", RATE, overwrite=True)


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_has_the_temporary_name_stays(tmp_path: Path, name: str, kind: str) -> None:
    path, mine = tmp_path / name, tmp_path / "mine"
    mine.write_bytes(b"mine")
    taken = temporary_path(path)
    make = {"file": taken.touch, "link": lambda: taken.symlink_to(mine)}
    make.get(kind, lambda: os.mkfifo(taken))()
    status = taken.lstat()
    write(path, noise(1))
    assert len(read(path)) == 1
    assert taken.lstat() == status
    assert mine.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_file_that_appears_during_the_rendering_stays_and_so_does_the_output(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name

    def render() -> None:
        with open_file_sink(path, RATE, overwrite=False) as sink:
            sink.send(noise(1)[0])
            path.write_bytes(b"mine")

    with pytest.raises(MediaError, match=r"cannot write .*; the complete output is .*partial"):
        render()
    assert path.read_bytes() == b"mine"
    assert len(read(temporary_path(path))) == 1


def test_where_there_are_no_hard_links_nothing_is_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    (tmp_path / "old").write_bytes(b"new content")
    (tmp_path / "taken").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        rename_to_free(tmp_path / "old", tmp_path / "taken")
    rename_to_free(tmp_path / "old", tmp_path / "free")
    assert (tmp_path / "free").read_bytes() == b"new content"
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_full_disk_is_reported_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    output = run_script(FILL, tmp_path / name, 4000, 40)
    assert output.startswith(f"cannot write {tmp_path / name}: the file grew beyond the size")
    assert output.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webm", "a.npy"])
def test_a_disk_full_at_the_last_byte_is_noticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert run_script(FILL, path, 0, 40) == "nothing\n"
    whole = path.read_bytes()
    assert "the file grew beyond" in run_script(FILL, path, len(whole) - 1, 40)
    assert path.read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name != "a.png"])
def test_a_full_small_disk_is_reported(small_disk: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"the disk is full; free some space or choose another"):
        write(small_disk / name, noise(120))
    assert not list(small_disk.iterdir())


def test_a_small_disk_without_room_for_one_image_is_reported(small_disk: Path) -> None:
    with pytest.raises(MediaError, match=r"the disk is full"):
        write(small_disk / "a.png", noise(1, width=512, height=512))
    assert not list(small_disk.iterdir())


def test_a_file_that_cannot_be_opened_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    name = "a" * 246 + ".mkv"  # Fits, but not with ".partial" in it.
    with pytest.raises(MediaError, match=r"File name too long"):
        write(tmp_path / name, noise(1))
    assert not list(tmp_path.iterdir())
