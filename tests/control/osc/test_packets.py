"""Packets: every type of value is read, and no packet hangs the reader or exceeds the limits."""

import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.messages import Message
from streamcam.control.osc.packets import (
    BUNDLE,
    MAX_DEPTH,
    MAX_MESSAGES,
    MAX_PACKET,
    PacketError,
    Unreadable,
    read_packet,
    write_packet,
)
from tests.control.osc.running_server import bundle, message

EXAMPLES = settings(derandomize=True, deadline=2000, max_examples=400)
TAGS = "ihfdsScrmtTFNI[]b,x"


def raw(address: bytes, tags: bytes, values: bytes = b"") -> bytes:
    """Return a message written by hand."""
    return padded(address) + padded(tags) + values


def padded(text: bytes) -> bytes:
    return text + b"\0" * (4 - len(text) % 4)


def bundled(*elements: bytes) -> bytes:
    return BUNDLE + b"\0" * 8 + b"".join(struct.pack(">i", len(e)) + e for e in elements)


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (message("/a"), ()),
        (padded(b"/a"), ()),
        (message("/a", 3, types="i"), (3,)),
        (message("/a", 2**40, types="h"), (2**40,)),
        (message("/a", 0.5, types="f"), (0.5,)),
        (message("/a", 0.1, types="d"), (0.1,)),
        (message("/a", "grün"), ("grün",)),
        (message("/a", True, False), (True, False)),
        (message("/a", None), (None,)),
        (message("/a", [1, [2.0, "x"]]), (1, 2.0, "x")),
        (raw(b"/a", b",I"), (True,)),
        (raw(b"/a", b",S", padded(b"word")), ("word",)),
        (raw(b"/a", b",cs", struct.pack(">i", 65) + padded(b"x")), (65, "x")),
        (raw(b"/a", b",rmt", bytes(15) + b"\1"), (0, 0, 1)),
    ],
)
def test_every_type_of_value_is_read(packet: bytes, wanted: tuple[object, ...]) -> None:
    assert read_packet(packet) == [("/a", wanted)]


def test_the_messages_of_nested_bundles_come_in_their_order() -> None:
    inner = bundled(raw(b"/b", b","), bundled(raw(b"/c", b",")), raw(b"/d", b","))
    packet = bundled(raw(b"/a", b","), inner, raw(b"/e", b","))
    assert [m.address for m in read_packet(packet)] == ["/a", "/b", "/c", "/d", "/e"]


def test_a_time_tag_far_in_the_future_is_read_as_now() -> None:
    began = time.monotonic()
    packet = bundle(message("/a", 1), when=time.time() + 3600)
    assert read_packet(packet) == [("/a", (1,))]
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("packet", "complaint"),
    [
        (b"", "begins with neither"),
        (b"hello\0\0\0", "begins with neither"),
        (b"/abc", "ends too early"),
        (b"/a\0\0,i\0", "by 4"),
        (raw(b"/a", b",i"), "ends too early"),
        (raw(b"/a", b",f"), "within a value"),
        (raw(b"/a", b",d", bytes(4)), "ends too early"),
        (raw(b"/a", b",s", b"abcd"), "ends too early"),
        (raw(b"/a", b"xi", bytes(4)), "no type tags"),
        (raw(b"/a", b",b", struct.pack(">i", -4)), "of type 'b'"),
        (raw(b"/\xff", b","), "not UTF-8"),
        (raw(b"/a", b",s", padded(b"\xff")), "not UTF-8"),
        (raw(b"/a", b",\xff"), "not UTF-8"),
        (BUNDLE + bytes(4), "time tag"),
        (BUNDLE + bytes(8) + struct.pack(">i", -4) + bytes(8), "element of -4 bytes"),
        (BUNDLE + bytes(8) + struct.pack(">i", 0) + bytes(8), "element of 0 bytes"),
        (BUNDLE + bytes(8) + struct.pack(">i", 6) + bytes(8), "element of 6 bytes"),
        (BUNDLE + bytes(8) + struct.pack(">i", 64) + bytes(8), "element of 64 bytes"),
        (BUNDLE + bytes(8) + b"\0\0", "element of 0 bytes"),
        (bytes(MAX_PACKET + 4), "at most 8192 bytes"),
        (bundled(*[raw(b"/", b",")] * (MAX_MESSAGES + 1)), "at most 256 messages"),
    ],
)
def test_a_malformed_packet_is_refused_with_the_reason(packet: bytes, complaint: str) -> None:
    with pytest.raises(PacketError, match=complaint):
        read_packet(packet)


FOREIGN = {
    "blob": (raw(b"/x", b",b", struct.pack(">i", 4) + b"abcd"), "/x", "of type 'b'"),
    "unknown tag": (raw(b"/x", b",Q", bytes(4)), "/x", "of type 'Q'"),
    "text not UTF-8": (raw(b"/x", b",s", padded(b"caf\xe9")), "/x", "not UTF-8"),
    "address not UTF-8": (raw(b"/caf\xe9", b",i", bytes(4)), "", "not UTF-8"),
    "no type tags": (padded(b"/x") + struct.pack(">i", 1), "/x", "no type tags"),
    "value cut off": (raw(b"/x", b",d", bytes(4)), "/x", "too early"),
    "address without end": (b"/xyz", "", "too early"),
    "no message": (b"hello\0\0\0", "", "begins with neither"),
}


@pytest.mark.parametrize(("foreign", "address", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_a_message_for_another_program_does_not_take_its_bundle_along(
    foreign: bytes, address: str, reason: str
) -> None:
    ours = [message("/a", 1), message("/b", 2)]
    for packet in (
        bundled(foreign, *ours),
        bundled(*ours, foreign),
        bundled(ours[0], foreign, ours[1]),
        bundled(ours[0], bundled(foreign), bundled(ours[1])),
    ):
        unreadable: list[Unreadable] = []
        assert read_packet(packet, unreadable) == [("/a", (1,)), ("/b", (2,))]
        [(found, why)] = unreadable
        assert found == address
        assert reason in why


def test_unreadable_messages_count_towards_the_limit() -> None:
    with pytest.raises(PacketError, match="at most 256 messages"):
        read_packet(bundled(*[b"/xyz"] * (MAX_MESSAGES + 1)))


def test_the_28_bytes_that_hang_python_osc_are_refused() -> None:
    packet = BUNDLE + bytes(8) + struct.pack(">i", -4) + bytes(8)
    assert len(packet) == 28
    with pytest.raises(PacketError, match="-4 bytes"):
        read_packet(packet)


def test_the_depth_of_nested_bundles_is_limited() -> None:
    packet = raw(b"/a", b",")
    for _ in range(MAX_DEPTH):
        packet = bundled(packet)
    assert read_packet(packet) == [("/a", ())]
    with pytest.raises(PacketError, match="8 deep"):
        read_packet(bundled(packet))
    for _ in range(300):
        packet = bundled(packet)
    with pytest.raises(PacketError, match="8 deep"):
        read_packet(packet)


def test_a_bundle_may_be_empty_and_hold_as_many_messages_as_allowed() -> None:
    assert read_packet(bundled()) == []
    assert len(read_packet(bundled(*[raw(b"/", b",")] * MAX_MESSAGES))) == MAX_MESSAGES


ARGUMENTS = st.lists(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=32, allow_nan=False),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
        st.none(),
    ),
    max_size=8,
)


@EXAMPLES
@given(arguments=ARGUMENTS)
def test_a_written_message_is_read_back_the_same(arguments: list[object]) -> None:
    sent = Message("/a/b", tuple(arguments))  # type: ignore[arg-type]
    assert read_packet(write_packet(sent)) == [sent]


def test_true_and_false_go_out_as_numbers() -> None:
    assert read_packet(write_packet(Message("/a", (True, False)))) == [("/a", (1, 0))]


def test_a_nul_in_a_text_does_not_cut_the_packet() -> None:
    assert read_packet(write_packet(Message("/a", ("x\0y\0", 3)))) == [("/a", ("xy", 3))]


def test_a_value_that_no_packet_can_carry_is_refused() -> None:
    with pytest.raises(PacketError):
        write_packet(Message("/a", (2**70,)))


ELEMENTS = st.recursive(
    st.one_of(
        st.binary(max_size=64),
        st.builds(
            raw,
            st.binary(max_size=12).map(lambda b: b"/" + b),
            st.text(TAGS, max_size=12).map(lambda tags: b"," + tags.encode()),
            st.binary(max_size=64),
        ),
    ),
    lambda inner: st.lists(inner, max_size=6).map(lambda parts: bundled(*parts)),
    max_leaves=40,
)


@EXAMPLES
@given(packet=ELEMENTS, cut=st.integers(0, 40), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_any_damaged_packet_is_read_or_refused(packet: bytes, cut: int, at: int, byte: int) -> None:
    damaged = bytearray(packet[: len(packet) - cut] if cut < 20 else packet)
    if at < len(damaged):
        damaged[at] = byte
    with suppress(PacketError):
        assert len(read_packet(bytes(damaged))) <= MAX_MESSAGES


def test_the_worst_packet_is_read_quickly() -> None:
    tags = b"," + b"s" * 2000
    began = time.monotonic()
    with pytest.raises(PacketError):
        read_packet(raw(b"/a", tags, b"abc\0" * 1530))
    assert time.monotonic() - began < 1
