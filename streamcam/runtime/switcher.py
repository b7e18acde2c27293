"""Switcher: chooses what goes on air at each tick, and composes it on the canvas."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from streamcam.pixels import mixed
from streamcam.runtime.canvas import Canvas
from streamcam.runtime.slate import slate
from streamcam.runtime.source_frames import SourceFrame
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

HOLD, SLATE = "hold", "slate"
"""Values of the setting `on_engine_loss`; the third shows the camera."""
ONE_MOMENT = "one moment, the picture is being prepared"
"""For viewers; the operator reads the engine's activity in the log and the status."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs that the switcher chooses from at one tick."""

    camera: Frame | None
    """The newest frame of the source; None before the first one."""
    output: Frame | None
    """The newest output of the model; None while no engine runs."""
    source_problem: str | None = None
    """The reason that the source gives no frames, in a few words; None while it does."""
    source: SourceFrame | None = None
    """The camera frame that `output` was made of; None if it was not kept."""
    engine_runs: bool = True
    """Whether the engine process is running, rather than loading or lost."""


class _Composed(NamedTuple):
    """A composed canvas, and the inputs it was composed of."""

    top: Frame | None
    below: Frame | None
    opacity: float
    detail: float | None
    """Share of the camera's detail in an output; None where the camera itself is at the top."""
    image: Image


class Switcher:
    """Choose and compose; the same inputs and parameters return the same array, at no cost.

    Args:
        config: size of the model's outputs, the canvas, and how the one is fitted to the other.
        passthrough: there is no model, and the whole camera frame goes out.
    """

    def __init__(self, config: Config, *, passthrough: bool = False) -> None:
        self._config = config
        """Of the model, whose outputs are composed."""
        self._canvas = Canvas(config, passthrough=passthrough)
        self._on_loss = config.broadcast.on_engine_loss
        self._passthrough = passthrough
        self._black = np.zeros((*self._canvas.size[::-1], 3), np.uint8)
        self._had_output = False
        self.held = self._black
        """The last image that was neither panic nor blackout; what `freeze` shows."""
        self._composed = _Composed(None, None, 1.0, None, self._black)
        self.frame: Frame | None = None
        """The camera frame or output on air; None while that is a slate or black."""

    def change_model(self, config: Config) -> None:
        """Compose the outputs of `config` from now on, on the canvas as it is."""
        self._config = config
        self._canvas = Canvas(config, passthrough=self._passthrough)

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
            return self._camera(inputs.camera)
        if inputs.output is None:
            return self._without_engine(inputs.camera, runs=inputs.engine_runs)
        self._had_output = True
        return self._output(inputs.output, inputs.camera, inputs.source, parameters)

    def _output(
        self, output: Frame, camera: Frame, source: SourceFrame | None, parameters: Parameters
    ) -> Image:
        below, detail = camera if parameters.mix < 1 else None, parameters.detail
        if self._config.shows_camera(parameters):
            top = partial(self._canvas.camera, (source or camera).image)
            return self._mix(output, top, below, parameters.mix)
        top = partial(self._canvas.output, output.image, source, detail)
        return self._mix(output, top, below, parameters.mix, detail)

    def _without_engine(self, camera: Frame, *, runs: bool) -> Image:
        """Return what `on_engine_loss` asks for; before the first output, a slate."""
        if not self._had_output or self._on_loss == SLATE:
            return self._slate("streamcam", "waiting for the first frame" if runs else ONE_MOMENT)
        if self._on_loss == HOLD:
            return self._composed.image
        return self._camera(camera)

    def _camera(self, camera: Frame) -> Image:
        return self._mix(camera, partial(self._canvas.camera, camera.image))

    def _slate(self, title: str, detail: str) -> Image:
        self.frame = None
        return slate(title, detail, self._canvas.size)

    def _mix(
        self,
        top: Frame,
        image_of_top: Callable[[], Image],
        below: Frame | None = None,
        opacity: float = 1.0,
        detail: float | None = None,
    ) -> Image:
        """Return `top` over `below` on the canvas, the last canvas again if nothing differs.

        Args:
            top: the frame that is on air.
            image_of_top: returns what it shows, on the canvas.
            below: camera frame that shows through; None for none.
            opacity: of `top`, 0 to 1.
            detail: share of the camera's detail in it.
        """
        last = self._composed
        same = last.top is top and last.below is below
        if not same or (last.opacity, last.detail) != (opacity, detail):
            image = image_of_top()
            if below is not None:
                image = mixed(image, self._canvas.camera(below.image), opacity)
            self._composed = _Composed(top, below, opacity, detail, image)
        self.frame = top
        return self._composed.image
