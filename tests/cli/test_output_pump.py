"""Whoever prints never waits for a reader, and what is printed still arrives."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait

import pytest

from streamcam.cli import output_pump
from streamcam.cli.output_pump import CAPACITY_BYTES, nonblocking_output

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors as on Unix")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a pipe; the second stands for stderr."""
    reader, stderr = os.pipe()
    yield reader, stderr
    os.close(stderr)


def test_all_that_is_printed_arrives_in_order_by_the_end(pipe: tuple[int, int]) -> None:
    reader, stderr = pipe
    with nonblocking_output([stderr]):
        for number in range(1000):
            os.write(stderr, b"%d\n" % number)
    os.write(stderr, b"after\n")
    expected = b"".join(b"%d\n" % number for number in range(1000)) + b"after\n"
    arrived = b""
    while len(arrived) < len(expected):
        arrived += os.read(reader, 65536)
    assert arrived == expected
    os.close(reader)


def test_a_reader_that_has_stopped_holds_nobody_up(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, stderr = pipe
    monkeypatch.setattr(output_pump, "DRAIN_S", 0.1)
    dropped = 0
    with nonblocking_output([stderr]):
        for _ in range(2 * CAPACITY_BYTES // 4096):
            try:
                os.write(stderr, b"x" * 4096)
            except BlockingIOError:
                dropped += 1
    assert dropped
    assert not os.get_blocking(stderr)  # Nor is the last line of a process that ends now.
    os.close(reader)


def test_a_reader_that_is_gone_holds_nobody_up(pipe: tuple[int, int]) -> None:
    reader, stderr = pipe
    os.close(reader)
    with nonblocking_output([stderr]):
        for _ in range(100):
            with suppress(BlockingIOError):  # The pump is still at the last one.
                os.write(stderr, b"nobody reads this")


def test_a_pump_that_fails_goes_on(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stderr = pipe
    errors = [MemoryError(), SystemExit(1)]

    def fail_first(descriptors: list[int]) -> list[object]:
        if errors:
            raise errors.pop()
        return wait(descriptors)

    monkeypatch.setattr(output_pump, "wait", fail_first)
    with nonblocking_output([stderr]):
        os.write(stderr, b"still here")
        assert os.read(reader, 99) == b"still here"
    assert not errors
    os.close(reader)


def test_a_child_is_not_made_to_wait_either(pipe: tuple[int, int]) -> None:
    reader, stderr = pipe
    with nonblocking_output([stderr]):
        assert os.get_inheritable(stderr)
        assert not os.get_blocking(stderr)
    assert os.get_blocking(stderr)
    os.close(reader)
