"""Frames to the engine process, outputs from it and its counts, in memory that both share."""

import weakref
from collections import Counter
from math import prod
from typing import NamedTuple

import numpy as np

from streamcam.pixels import fitted, size_in_bytes
from streamcam.runtime.device_presence import device_kind
from streamcam.runtime.engine_worker import (
    BUSY_US,
    CONTROL_AT_ONCE,
    CONTROL_WANTED,
    DROPPED,
    HEARTBEAT,
    NEWEST_TAKEN,
    SETTLED,
    SKIPPED,
    TAKEN,
)
from streamcam.runtime.frame_ring import MAX_METADATA, FrameRing
from streamcam.runtime.source_frames import SourceFrame, SourceFrames
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.child_process import start_resource_tracker
from streamcam.types import Bytes, Frame, Image

FRAME_COUNTERS = (TAKEN, DROPPED, SKIPPED)


class Work(NamedTuple):
    """Work of one engine process so far."""

    frames: int
    """Frames that the model has run on."""
    busy_s: float
    """Seconds that they took."""


class EngineFrames:
    """Two rings of frames: those for the engine process, and the outputs that it gives.

    They outlive an engine process; the next one goes on with them. No method ever waits.

    Args:
        config: says how large frames and outputs are, and how many wait.

    Raises:
        EngineError: there is too little shared memory.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        start_resource_tracker()
        self.rings = _create_rings(config)
        """That of the frames, and that of the outputs, as the engine process gets them."""
        self._inputs, self._outputs = self.rings
        self.control_ring = control_ring(config)
        """That of the images that ControlNets are shown, if there are any."""
        self._control_image: Image | None = None
        # Even if no engine is ever started, nothing is left in shared memory.
        shared = [ring for ring in (*self.rings, self.control_ring) if ring is not None]
        self.close = weakref.finalize(self, _unlink, *shared)
        self._earlier_counts: Counter[int] = Counter()
        """Frame counters of the engine processes before this one, added up."""
        self._metadata = _to_metadata(config.live)
        self._sources = SourceFrames(config.waiting)

    def send(
        self,
        frame: Frame,
        parameters: Parameters | None,
        version: int,
        *,
        any_size: bool,
        keep: bool = False,
    ) -> None:
        """Send a frame; those that the engine has not taken so far may be lost.

        Args:
            frame: of any size.
            parameters: the snapshot from this frame on; None for the last one.
            version: number of the snapshot.
            any_size: whether the engine fits frames itself, on its device.
            keep: remember the frame for `source_of`.
        """
        if parameters is not None:
            self._metadata = _to_metadata(parameters)
        config, image, small = self._config, frame.image, None
        if not (any_size and self._inputs.has_room_for(image)):
            image = small = fitted(image, config.width, config.height, config.fit)
        if keep:
            source = SourceFrame(frame.index, frame.image, small)
            self._sources.add(source, self._count(NEWEST_TAKEN))
        self._inputs.put(
            image, frame.index, frame.captured_at, version=version, metadata=self._metadata
        )

    def receive(self) -> list[Frame]:
        """Return the outputs that have come since the last call, oldest first."""
        entries = self._outputs.take()
        return [
            Frame(e.image, e.index, e.captured_at, _packed(e.metadata), made_of=e.made_of)
            for e in entries
        ]

    def control_image(self) -> Image | None:
        """Return the newest images that ControlNets are shown, and ask for the next ones."""
        if self.control_ring is None:
            return None
        self.control_ring.counters[CONTROL_WANTED] = CONTROL_AT_ONCE
        for entry in self.control_ring.take():
            self._control_image = entry.image
        return self._control_image

    def source_of(self, output: Frame) -> SourceFrame | None:
        """Return the frame that `output` was made of; None if it was not kept.

        Frames before it are forgotten.
        """
        return self._sources.find(output.index if output.made_of is None else output.made_of)

    @property
    def heartbeat(self) -> int:
        """Number that changes for as long as the engine is well."""
        return self._count(HEARTBEAT)

    def total(self, counter: int) -> int:
        """Return a count over this engine process and those before it."""
        return self._earlier_counts[counter] + self._count(counter)

    @property
    def work(self) -> Work:
        """The work of this engine process."""
        return Work(self._count(TAKEN) - self._count(SKIPPED), self._count(BUSY_US) / 1e6)

    @property
    def is_settled(self) -> bool:
        """Whether the engine runs as it will go on to; see `LoadedStream.is_settled`."""
        return bool(self._count(SETTLED))

    def begin_counts(self) -> None:
        """Count from zero for an engine process that starts, and keep the totals."""
        for counter in FRAME_COUNTERS:
            self._earlier_counts[counter] += self._count(counter)
        for counter in (*FRAME_COUNTERS, BUSY_US, SETTLED):
            self._outputs.counters[counter] = 0

    def count_on(self, before: "EngineFrames") -> None:
        """Add the totals of the frames `before` these."""
        for counter in FRAME_COUNTERS:
            self._earlier_counts[counter] += before.total(counter)

    def _count(self, counter: int) -> int:
        return int(self._outputs.counters[counter])


def _create_rings(config: Config) -> tuple[FrameRing, FrameRing]:
    """Return the rings of frames and of outputs, with room for all that a device does itself."""
    frame_size, output_size = (config.width, config.height), (config.width, config.height)
    packed = 0
    if device_kind(config.device) == "cuda":
        broadcast = config.broadcast
        if config.fits_on_device:
            frame_size = max(frame_size, broadcast.camera_size, key=prod)
        output_size = max(output_size, broadcast.canvas, key=prod)
        packed = size_in_bytes(broadcast.pixel_format, broadcast.canvas)
    frames = FrameRing((frame_size[1], frame_size[0], 3), capacity=config.waiting)
    try:
        shape = (output_size[1], output_size[0], 3)
        return frames, FrameRing(shape, capacity=config.burst, max_metadata=packed)
    except BaseException:
        frames.close(unlink=True)
        raise


def control_ring(config: Config) -> FrameRing | None:
    """Return the ring for the images that ControlNets are shown, side by side; None without any."""
    count = len(config.controlnet)
    return FrameRing((config.height, config.width * count, 3)) if count else None


def _unlink(*rings: FrameRing) -> None:
    for ring in rings:
        ring.close(unlink=True)


def _packed(metadata: bytes) -> Bytes | None:
    return np.frombuffer(metadata, np.uint8) if metadata else None


def _to_metadata(parameters: Parameters) -> bytes:
    metadata = parameters.model_dump_json().encode()
    assert len(metadata) <= MAX_METADATA, f"a snapshot of {len(metadata)} bytes"
    return metadata
