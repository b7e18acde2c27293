"""Decoded video frames to upright RGB images with square pixels in the colours of SDR."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from streamcam.geometry import square_pixel_size
from streamcam.pixels import displayed
from streamcam.sources.tone_mapping import DEEP, ToneMapper, needs_mapping
from streamcam.types import Image

BT709, UNSPECIFIED, BT2020 = 1, 2, 9
CONVERTIBLE = frozenset((0, BT709, UNSPECIFIED, 4, 5, 6, 7, BT2020))
"""Colour matrices that FFmpeg converts from; it refuses frames with any other."""
BT2020_CONSTANT_LUMINANCE = 10


class RgbConverter:
    """Converts the frames of one video track, as their metadata says.

    A display matrix turns and flips them, non-square pixels are made square by enlarging, HDR and
    wide gamuts become SDR. What plain video does not need costs it nothing.
    """

    def __init__(self, track: VideoStream) -> None:
        self._context = track.codec_context
        self._reformatter = VideoReformatter()
        self._tone_mapper: ToneMapper | None = None
        aspect = track.sample_aspect_ratio
        # What the container says about the pixels' shape goes before what the codec says.
        self._container_aspect = None if aspect == self._context.sample_aspect_ratio else aspect
        self._pixel_aspect: Fraction | None = None
        self._tags = (UNSPECIFIED, UNSPECIFIED)
        self._began = False

    def __call__(self, decoded: VideoFrame) -> Image:
        """Return the frame as ``(H, W, 3)`` uint8 RGB."""
        if decoded.key_frame or not self._began:
            # The decoder is some frames ahead of its output, so its context is only right about
            # the frames that a change can begin with.
            self._began = True
            self._pixel_aspect = self._container_aspect or self._context.sample_aspect_ratio
            self._tags = (int(self._context.color_trc), int(self._context.color_primaries))
        size = square_pixel_size((decoded.width, decoded.height), self._pixel_aspect)
        image = self._rgb(decoded, size).to_ndarray().astype(np.uint8, copy=False)
        # PyAV's annotation takes the items for keys.
        for item in cast(Iterable[SideData], decoded.side_data):
            if item.type == Type.DISPLAYMATRIX:
                a, b, _, c, d, *_ = struct.unpack_from("9i", bytes(item))
                image = displayed(image, (a, b, c, d))
        return image

    def _rgb(self, decoded: VideoFrame, size: tuple[int, int]) -> VideoFrame:
        _name_matrix(decoded)
        sampled = size == (decoded.width, decoded.height)
        mapped = needs_mapping(*self._tags)
        frame = self._reformatter.reformat(
            decoded,
            *size,
            format=DEEP if mapped else "rgb24",
            interpolation=Interpolation.BILINEAR if sampled else Interpolation.BICUBIC,
        )
        if not mapped:
            return frame
        if self._tone_mapper is None or self._tone_mapper.key != (size, *self._tags):
            self._tone_mapper = ToneMapper(size, *self._tags)
        return self._tone_mapper(frame)


def _name_matrix(decoded: VideoFrame) -> None:
    """Name the colour matrix of a frame that does not, or names one that FFmpeg cannot convert."""
    if decoded.colorspace == BT2020_CONSTANT_LUMINANCE:
        decoded.colorspace = BT2020
    elif decoded.colorspace not in CONVERTIBLE:
        decoded.colorspace = UNSPECIFIED
    if decoded.colorspace == UNSPECIFIED and (decoded.width >= 1280 or decoded.height > 576):
        # As players do: video of high definition is BT.709, of standard definition BT.601.
        decoded.colorspace = BT709
