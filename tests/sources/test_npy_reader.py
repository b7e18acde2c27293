import os
import tracemalloc
from contextlib import suppress
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


HEADER = "{'descr': %s, 'fortran_order': False, 'shape': %s, }"


def array_file(path: Path, shape: str, descr: str = "'|u1'", *, size: int | None = None) -> Path:
    """Write an array of 96 bytes with any header, which may claim to be of `size` bytes."""
    text = (HEADER % (descr, shape)).encode("latin-1")
    length = (len(text) if size is None else size).to_bytes(4, "little")
    path.write_bytes(b"\x93NUMPY\x02\0" + length + text + bytes(96))
    return path


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ("(-2, 4, 4, 3)", r"a\.npy holds no frames: \(-2, 4, 4, 3\)"),
        ("(-2, -4, 4, 3)", r"holds no frames"),
        ("(2, -4, -4, 3)", r"holds no frames"),
        ("(2, 4, 4, -3)", r"frames must be \(T, H, W, 3\)"),
        (f"({10**15}, 4, 4, 3)", r"cannot read the array .*cut off, with 96 bytes of"),
        (f"({10**30}, 4, 4, 3)", r"cannot read the array .*a side is longer than any disk"),
        (f"(-0x{'f' * 9000}, 4, 4, 3)", r"cannot read the array .*a side is longer"),
        (f"({'1' * 5000}, 4, 4, 3)", r"cannot read the array"),
        ("(1, 100000, 100000, 3)", r"megapixels, more than the 67 that are read; make it smaller"),
        ("((((", r"cannot read the array"),
        ("(" * 400 + ")" * 400, r"cannot read the array"),
        ("9 ** 9 ** 9", r"cannot read the array"),
        ("None", r"cannot read the array"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, shape: str, complaint: str
) -> None:
    with pytest.raises(MediaError, match=complaint) as caught:
        NpyReader(array_file(tmp_path / "a.npy", shape), RATE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "descr", ["'O'", "None", "'|V0'", "[('a', '|u1', (-1,))]", "'M8[ns]'", "'|S9999999999'", "{}"]
)
def test_a_type_that_cannot_be_is_refused_in_one_line(tmp_path: Path, descr: str) -> None:
    with pytest.raises(MediaError, match=r"cannot read the array|frames must be") as caught:
        NpyReader(array_file(tmp_path / "a.npy", "(2, 4, 4, 3)", descr), RATE)
    assert "\n" not in str(caught.value)


def test_any_damage_of_a_header_is_a_media_error_or_none(tmp_path: Path) -> None:
    path, rng = array_file(tmp_path / "a.npy", "(2, 4, 4, 3)"), np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole) - 96, 3):
            damaged[place] = rng.choice(list(b"()-,'{}[]:0123456789\0\xff"))
        path.write_bytes(damaged)
        with suppress(MediaError):
            list(NpyReader(path, RATE))


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = array_file(tmp_path / "a.npy", "(2, 4, 4, 3)", size=2**32 - 1)
    with path.open("r+b") as file:
        file.truncate(1 << 33)  # Sparse.
    tracemalloc.start()
    with pytest.raises(MediaError, match="cannot read the array"):
        NpyReader(path, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_an_array_that_is_cut_off_while_it_plays_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 64, 64, 3), np.uint8))
    frames = iter(NpyReader(tmp_path / "a.npy", RATE))
    next(frames)
    os.truncate(tmp_path / "a.npy", 20_000)
    with pytest.raises(MediaError, match=r"cannot read the array .*it ends within frame"):
        list(frames)


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
