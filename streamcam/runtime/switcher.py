"""The desk: which picture goes on air, and how it meets the canvas."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamcam.geometry import uniform_scale
from streamcam.pixels import fitted, mixed
from streamcam.runtime.slate import slate
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

CAMERA, HOLD = "camera", "hold"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to choose from at one tick."""

    camera: Frame | None
    """The newest frame of the source."""
    picture: Frame | None
    """The newest picture of the model; None while no engine runs."""
    detail: str
    """What the engine is busy with, in a few words."""
    source: str | None
    """Why there is no source, in a few words; None where there is one."""


class _Shown(NamedTuple):
    """A composed canvas, and what it was composed of."""

    top: Frame | None
    below: Frame | None
    share: float
    image: Image


class Switcher:
    """Chooses and composes; the same feeds and parameters give the same picture again, for free.

    With `passthrough` there is no model, and the whole camera goes out.
    """

    def __init__(self, config: Config, *, passthrough: bool = False) -> None:
        self._canvas = config.broadcast.canvas
        self._canvas_fit = config.broadcast.canvas_fit
        self._fit = config.fit
        self._on_loss = config.broadcast.on_engine_loss
        self._passthrough = passthrough
        self._frame_size = _grown(config.width, config.height, self._canvas, self._canvas_fit)
        self._black = np.zeros((self._canvas[1], self._canvas[0], 3), np.uint8)
        self._had_picture = False
        self.held = self._black
        """The last picture that was neither panic nor blackout."""
        self._shown = _Shown(None, None, 1.0, self._black)
        self.frame: Frame | None = None
        """The frame or picture on air; None while it is a slate or black."""

    def compose(self, feeds: Inputs, parameters: Parameters) -> Image:
        """Return the canvas ``(H, W, 3)`` for this tick; it must not be written to."""
        if parameters.panic:
            return self._card("streamcam", "standing by")
        if parameters.blackout:
            self.frame = None
            return self._black
        if parameters.freeze:
            return self.held
        self.held = self._live(feeds, parameters)
        return self.held

    def _live(self, feeds: Inputs, parameters: Parameters) -> Image:
        if feeds.source is not None:
            return self._card("no picture from the source", feeds.source)
        if feeds.camera is None:
            return self._card("streamcam", "opening the source")
        if parameters.bypass or parameters.mix == 0 or self._passthrough:
            return self._show(feeds.camera, None, 1.0)
        if feeds.picture is None:
            return self._without_engine(feeds)
        self._had_picture = True
        mix = parameters.mix
        below = feeds.camera if mix < 1 else None
        # A device has placed it already.
        on_canvas = feeds.picture.image.shape[1::-1] == self._canvas
        return self._show(feeds.picture, below, mix, on_canvas=on_canvas)

    def _without_engine(self, feeds: Inputs) -> Image:
        """Return what `on_engine_loss` says; before the first picture, the slate."""
        if not self._had_picture or self._on_loss == "slate":
            return self._card("streamcam", feeds.detail or "the first picture is on its way")
        if self._on_loss == HOLD:
            return self._shown.image
        assert feeds.camera is not None
        return self._show(feeds.camera, None, 1.0)

    def _card(self, title: str, detail: str) -> Image:
        self.frame = None
        return slate(title, detail, self._canvas)

    def _show(
        self, top: Frame, below: Frame | None, share: float, *, on_canvas: bool = False
    ) -> Image:
        last = self._shown
        if last.top is not top or last.below is not below or last.share != share:
            image = top.image if on_canvas else self._placed(top.image)
            if below is not None:
                image = mixed(image, self._placed(below.image), share)
            self._shown = _Shown(top, below, share, image)
        self.frame = top
        return self._shown.image

    def _placed(self, image: Image) -> Image:
        """Return `image` on the canvas, a camera's frame just where its picture goes."""
        if not self._passthrough:
            image = fitted(image, *self._frame_size, self._fit)
        return fitted(image, *self._canvas, self._canvas_fit)


def _grown(width: int, height: int, canvas: tuple[int, int], canvas_fit: str) -> tuple[int, int]:
    """Return the size at which a picture of ``width x height`` stands on the canvas."""
    scale = uniform_scale((width, height), canvas, canvas_fit)
    return round(width * scale), round(height * scale)
