from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from streamcam.errors import MediaError
from streamcam.sources.npy_reader import NpyReader
from tests.support.media import RATE, run_script


def test_every_frame_of_an_array_comes_in_order(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", frames)
    source = NpyReader(tmp_path / "a.npy", RATE)
    with source:
        got = list(source)
    assert source.length == 5
    assert [frame.index for frame in got] == [0, 1, 2, 3, 4]
    assert (np.stack([frame.image for frame in got]) == frames).all()


def test_an_array_in_fortran_order_reads_the_same(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.asfortranarray(frames))
    got = [frame.image for frame in NpyReader(tmp_path / "a.npy", RATE)]
    assert (np.stack(got) == frames).all()


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((4, 8, 8), np.uint8), r"holds \(4, 8, 8\) uint8; frames must be \(T, H, W, 3\)"),
        (np.zeros((4, 8, 8, 1), np.uint8), r"\(4, 8, 8, 1\) uint8; frames must be"),
        (np.zeros((4, 8, 8, 3), np.float32), r"float32; frames must be \(T, H, W, 3\) uint8 RGB"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"holds no frames: \(0, 8, 8, 3\)"),
        (np.array([{}], dtype=object), r"cannot read the array"),
    ],
)
def test_other_arrays_are_refused_with_the_shape_that_is_needed(
    tmp_path: Path, array: np.ndarray, complaint: str
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(MediaError, match=complaint):
        NpyReader(tmp_path / "a.npy", RATE)


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 8, 8, 3), np.uint8))
    whole = path.read_bytes()
    for content in (b"", b"no array", whole[:5], whole[:50], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"cannot read the array .*a\.npy: \S"):
            NpyReader(path, RATE)


def test_an_npz_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, frames=np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(MediaError, match=r"cannot read the array"):
        NpyReader(tmp_path / "a.npy", RATE)


def test_a_long_array_takes_no_more_memory_than_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    frames = npy.open_memmap(path, "w+", dtype=np.uint8, shape=(600, 512, 512, 3))
    del frames  # A sparse file: 472 MB that take no room on the disk.
    script = """
        from streamcam.sources.npy_reader import NpyReader
        frames = iter(NpyReader(path, Fraction(30)))
        next(frames)
        before = peak_mb()
        print(1 + sum(1 for _ in frames), peak_mb() - before)
    """
    count, grown_mb = run_script(script, path).split()
    assert int(count) == 600
    assert float(grown_mb) < 20
