"""Whoever prints a message never gets an error of its reader or its disk."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcam.system.standard_streams import MessageFile, dropped_messages

FULL = Path("/dev/full")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the reader's end of a pipe and a writer's end that does not wait."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    yield reader, writer
    os.close(writer)


def stream_to(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        MessageFile(descriptor), encoding="ascii", errors="backslashreplace", write_through=True
    )


def test_a_message_arrives_at_once_with_every_character(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = stream_to(writer)
    print("naïve", file=stream)
    assert os.read(reader, 99) == b"na\\xefve\n"
    assert dropped_messages(stream) == 0
    os.close(reader)


def test_messages_to_a_reader_that_is_gone_are_dropped_and_counted(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    os.close(reader)
    stream = stream_to(writer)
    for _ in range(3):
        stream.write("nobody reads this\n")
        stream.flush()
    assert dropped_messages(stream) == 3


@pytest.mark.skipif(not FULL.exists(), reason="there is no disk that is always full")
def test_messages_to_a_full_disk_are_dropped_and_counted() -> None:
    with FULL.open("wb") as full:
        stream = stream_to(full.fileno())
        stream.write("no room for this\n")
        assert dropped_messages(stream) == 1


def test_a_full_pipe_makes_nobody_wait_and_cuts_at_most_one_line(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = stream_to(writer)
    line = "x" * 8191 + "\n"
    written = 0
    while dropped_messages(stream) < 3:
        stream.write(line)
        written += 1
    arrived = b""
    os.set_blocking(reader, False)
    while len(arrived) < (written - 3) * len(line):
        arrived += os.read(reader, 2**20)
    stream.write("after\n")
    arrived += os.read(reader, 2**20)
    *whole, last = arrived.decode().splitlines(keepends=True)
    assert last == "after\n"
    assert len([text for text in whole if text != line]) <= 1
    os.close(reader)
