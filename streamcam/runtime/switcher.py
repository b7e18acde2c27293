"""Switcher: chooses what goes on air at each tick, and composes it on the canvas."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamcam.geometry import uniform_scale
from streamcam.pixels import fitted, mixed
from streamcam.runtime.slate import slate
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

HOLD, SLATE = "hold", "slate"
"""Values of the setting `on_engine_loss`; the third shows the camera."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs that the switcher chooses from at one tick."""

    camera: Frame | None
    """The newest frame of the source; None before the first one."""
    output: Frame | None
    """The newest output of the model; None while no engine runs."""
    engine_detail: str
    """Current activity of the engine, in a few words."""
    source_problem: str | None
    """The reason that the source gives no frames, in a few words; None while it does."""


class _Composed(NamedTuple):
    """A composed canvas, and the inputs it was composed of."""

    top: Frame | None
    below: Frame | None
    opacity: float
    image: Image


class Switcher:
    """Choose and compose; the same inputs and parameters return the same array, at no cost.

    Args:
        config: size of the model's outputs, the canvas, and how the one is fitted to the other.
        passthrough: there is no model, and the whole camera frame goes out.
    """

    def __init__(self, config: Config, *, passthrough: bool = False) -> None:
        self._canvas = config.broadcast.canvas
        self._canvas_fit = config.broadcast.canvas_fit
        self._fit = config.fit
        self._on_loss = config.broadcast.on_engine_loss
        self._passthrough = passthrough
        self._output_size = _size_on_canvas(
            config.width, config.height, self._canvas, self._canvas_fit
        )
        self._black = np.zeros((self._canvas[1], self._canvas[0], 3), np.uint8)
        self._had_output = False
        self.held = self._black
        """The last image that was neither panic nor blackout; what `freeze` shows."""
        self._composed = _Composed(None, None, 1.0, self._black)
        self.frame: Frame | None = None
        """The camera frame or output on air; None while that is a slate or black."""

    def compose(self, inputs: Inputs, parameters: Parameters) -> Image:
        """Return the canvas ``(H, W, 3)`` for this tick; it must not be written to."""
        if parameters.panic:
            return self._slate("streamcam", "standing by")
        if parameters.blackout:
            self.frame = None
            return self._black
        if parameters.freeze:
            return self.held
        self.held = self._compose_live(inputs, parameters)
        return self.held

    def _compose_live(self, inputs: Inputs, parameters: Parameters) -> Image:
        if inputs.source_problem is not None:
            return self._slate("no frames from the source", inputs.source_problem)
        if inputs.camera is None:
            return self._slate("streamcam", "opening the source")
        if parameters.bypass or parameters.mix == 0 or self._passthrough:
            return self._mix(inputs.camera, None, 1.0)
        if inputs.output is None:
            return self._without_engine(inputs.camera, inputs.engine_detail)
        self._had_output = True
        mix = parameters.mix
        below = inputs.camera if mix < 1 else None
        # The engine's device has fitted it to the canvas already.
        on_canvas = inputs.output.image.shape[1::-1] == self._canvas
        return self._mix(inputs.output, below, mix, on_canvas=on_canvas)

    def _without_engine(self, camera: Frame, engine_detail: str) -> Image:
        """Return what `on_engine_loss` asks for; before the first output, a slate."""
        if not self._had_output or self._on_loss == SLATE:
            return self._slate("streamcam", engine_detail or "waiting for the first frame")
        if self._on_loss == HOLD:
            return self._composed.image
        return self._mix(camera, None, 1.0)

    def _slate(self, title: str, detail: str) -> Image:
        self.frame = None
        return slate(title, detail, self._canvas)

    def _mix(
        self, top: Frame, below: Frame | None, opacity: float, *, on_canvas: bool = False
    ) -> Image:
        """Return `top` over `below` on the canvas, the last canvas again if nothing differs."""
        last = self._composed
        if last.top is not top or last.below is not below or last.opacity != opacity:
            image = top.image if on_canvas else self._fit_to_canvas(top.image)
            if below is not None:
                image = mixed(image, self._fit_to_canvas(below.image), opacity)
            self._composed = _Composed(top, below, opacity, image)
        self.frame = top
        return self._composed.image

    def _fit_to_canvas(self, image: Image) -> Image:
        """Return `image` on the canvas, a camera frame just where the model's output goes."""
        if not self._passthrough:
            image = fitted(image, *self._output_size, self._fit)
        return fitted(image, *self._canvas, self._canvas_fit)


def _size_on_canvas(
    width: int, height: int, canvas: tuple[int, int], canvas_fit: str
) -> tuple[int, int]:
    """Return the size that an output of ``width x height`` has on the canvas."""
    scale = uniform_scale((width, height), canvas, canvas_fit)
    return round(width * scale), round(height * scale)
