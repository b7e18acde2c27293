"""Sink that discards its frames, for measurements and for a broadcast that needs no output."""

from typing import Self

from streamcam.types import Frame


class NullSink:
    """Discards every frame and counts them."""

    def __init__(self) -> None:
        self.count = 0
        """Frames sent since the sink was made."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def send(self, frame: Frame) -> None:  # noqa: ARG002
        self.count += 1
