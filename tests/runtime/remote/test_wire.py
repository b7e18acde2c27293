import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from streamcam.runtime.frame_ring import MAX_METADATA
from streamcam.runtime.remote.chunks import CHUNK, HEADER, Assembly, chunks_of
from streamcam.runtime.remote.wire import (
    MAX_FRAME,
    MAX_MESSAGE,
    Lines,
    WireError,
    WireFrame,
    compressed,
    decompressed,
    frame_bytes,
    message_bytes,
    parse_frame,
)
from streamcam.types import Image

FRAME = WireFrame(7, 6, 12.5, 3, b'{"seed": 1}', b"image")
IMAGE: Image = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8), (9, 9), 3
).astype(np.uint8)


def test_a_frame_arrives_as_it_was_sent() -> None:
    assert parse_frame(frame_bytes(FRAME)) == FRAME


@pytest.mark.parametrize("cut", [0, 10, 36, 47])
def test_a_frame_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(WireError):
        parse_frame(frame_bytes(FRAME)[:cut])


def test_metadata_beyond_any_snapshot_is_refused() -> None:
    with pytest.raises(WireError):
        parse_frame(frame_bytes(replace(FRAME, metadata=bytes(MAX_METADATA + 1))))


def test_images_come_back_exactly_or_nearly() -> None:
    assert np.array_equal(decompressed(compressed(IMAGE, lossless=True), (96, 64)), IMAGE)
    nearly = decompressed(compressed(IMAGE), (96, 64))
    assert np.abs(nearly.astype(int) - IMAGE).mean() < 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GIF89a", "no JPEG or PNG"),
        (compressed(IMAGE[:32]), "96x32 came, not of 96x64"),
        (compressed(IMAGE)[:300], "JPEG or PNG|damaged"),
    ],
)
def test_what_is_no_image_of_the_size_is_refused_before_it_is_decoded(
    data: bytes, why: str
) -> None:
    with pytest.raises(WireError, match=why):
        decompressed(data, (96, 64))


def test_messages_may_come_in_any_pieces() -> None:
    sent = message_bytes({"kind": "a", "text": "ü"}) + message_bytes({"kind": "b"})
    lines = Lines()
    assert [m["kind"] for byte in sent for m in lines.feed(bytes([byte]))] == ["a", "b"]


@pytest.mark.parametrize(
    "data", [b"x\n", b"[]\n", b"{}\n", b'{"kind": 3}\n', b"[" * 100_000 + b"\n"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Lines().feed(data)


def test_a_message_without_an_end_is_refused() -> None:
    with pytest.raises(WireError, match="too long"):
        Lines().feed(bytes(MAX_MESSAGE + 1))
    assert len(json.dumps({"kind": "engine", "text": "x" * 20_000})) < MAX_MESSAGE


# ---- chunks

DATA = np.random.default_rng(1).bytes(10 * CHUNK + 77)


def put_together(packets: list[bytes]) -> tuple[Assembly, bool]:
    whole, done = Assembly(len(DATA)), False
    for packet in packets:
        number, size, index = HEADER.unpack_from(packet)
        assert (number, size) == (9, len(DATA))
        done = whole.add(index, packet[HEADER.size :])
    return whole, done


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 40 * CHUNK])
def test_a_frame_of_any_size_is_put_together(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    whole, done = Assembly(size), False
    for packet in reversed(chunks_of(1, data[:size], parity=False)):
        done = whole.add(HEADER.unpack_from(packet)[2], packet[HEADER.size :])
    assert done
    assert whole.data() == data[:size]


def test_one_lost_chunk_of_each_group_is_made_again() -> None:
    packets = chunks_of(9, DATA, parity=True)
    assert len(packets) == 11 + 3
    # Neighbours: a burst of losses.
    whole, done = put_together([p for i, p in enumerate(packets) if i not in (4, 5, 6)])
    assert done
    assert whole.has_lost
    assert whole.data() == DATA


def test_what_cannot_be_made_again_is_known() -> None:
    packets = chunks_of(9, DATA, parity=True)
    whole, done = put_together([p for i, p in enumerate(packets) if i not in (1, 4)])
    assert not done
    assert list(whole.missing()) == [1, 4]
    assert whole.add(1, packets[1][HEADER.size :])
    assert whole.data() == DATA


def test_lost_parity_does_no_harm() -> None:
    whole, done = put_together(chunks_of(9, DATA, parity=True)[:11])
    assert done
    assert not whole.has_lost


@pytest.mark.parametrize("size", [0, MAX_FRAME + 1])
def test_sizes_that_no_frame_has_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        Assembly(size)


@pytest.mark.parametrize(("index", "payload"), [(14, b"x"), (60_000, b"x"), (0, bytes(CHUNK + 1))])
def test_chunks_that_no_frame_has_are_refused(index: int, payload: bytes) -> None:
    with pytest.raises(WireError):
        Assembly(len(DATA)).add(index, payload)
