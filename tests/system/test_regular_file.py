"""A name that stands for a pipe, a socket or a device is refused at once, wherever it is given."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcam.control.cues import read_cues
from streamcam.errors import StreamcamError
from streamcam.models import model_files, model_names
from streamcam.settings.config_layers import build_config
from streamcam.settings.presets import load_preset
from streamcam.sources.image_reader import ImageFolderReader, read
from streamcam.sources.npy_reader import NpyReader
from streamcam.sources.source_table import open_file_source
from streamcam.system.regular_file import open_regular, read_regular
from streamcam.video import wan_files
from tests.support.media import RATE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names on POSIX")

READERS: dict[str, Callable[[Path], object]] = {
    "a source": lambda path: open_file_source(path, RATE),
    "an image": read,
    "an array": lambda path: NpyReader(path, RATE),
    "cues": lambda path: read_cues(path, build_config([])),
    "a preset": lambda path: load_preset(str(path)),
    "a model": lambda path: model_names.local_path(str(path)),
    "a LoRA": lambda path: model_files.lora_file(str(path), offline=True),
    "video weights": lambda path: wan_files.weights_file(str(path), offline=True),
}


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to: opening it would wait for ever."""
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_refused_and_not_waited_for(pipe: Path, reader: str) -> None:
    with pytest.raises(StreamcamError, match=r"pipe\.toml.* is a pipe.*not a file; save what it"):
        READERS[reader](pipe)


@pytest.mark.parametrize("name", ["photo.png", "clip.mp4", "frames.npy", "none"])
def test_a_link_to_a_pipe_is_refused_as_a_source_of_any_name(pipe: Path, name: str) -> None:
    link = pipe.with_name(name)
    link.symlink_to(pipe)
    with pytest.raises(StreamcamError, match=rf"cannot read .*{name}: it is a pipe"):
        open_file_source(link, RATE)


def test_sockets_and_devices_are_refused_by_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # A socket's name may have about a hundred bytes.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(StreamcamError, match="it is a socket, not a file"):
            open_file_source(Path("socket"), RATE)
    message = "it is a device, not a file; a camera is camera:/dev/zero"
    with pytest.raises(StreamcamError, match=message):
        open_file_source(Path("/dev/zero"), RATE)


@pytest.mark.parametrize("name", ["config.json", "unet/config.json", "vae/model.safetensors"])
def test_a_pipe_among_the_files_of_a_model_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    for find in (
        model_names.local_path,
        lambda folder: wan_files.weights_file(folder, offline=True),
    ):
        with pytest.raises(StreamcamError, match=rf"{name} is a pipe or a device, not a file"):
            find(str(tmp_path))


def test_a_pipe_next_to_a_file_of_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(StreamcamError, match=r"config\.json is a pipe or a device"):
        wan_files.weights_file(str(tmp_path / "model.pt"), offline=True)


def test_a_folder_of_images_passes_over_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(StreamcamError, match="no images in"):
        ImageFolderReader(tmp_path, RATE)


def test_a_file_reads_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    with open_regular(path) as file:
        assert file.read() == b"x" * 1000
    assert read_regular(path, 1000) == b"x" * 1000
    with pytest.raises(OSError, match=r"it is longer than"):
        read_regular(path, 999)


def test_a_preset_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StreamcamError, match=r"a\.toml: it is longer than 100 kB"):
        load_preset(str(tmp_path / "a.toml"))
