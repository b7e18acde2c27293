"""Canvas of a broadcast: camera frames and outputs at its size, each where the other goes."""

from streamcam.geometry import Size, have_same_shape, uniform_scale
from streamcam.pixels import fitted
from streamcam.runtime.guided_upsampling import GuidedUpsampler
from streamcam.runtime.source_frames import SourceFrame
from streamcam.settings.config import Config
from streamcam.types import Image


class Canvas:
    """Fits images to the canvas.

    Args:
        config: size of the model's outputs, the canvas, and how the one is fitted to the other.
        passthrough: there is no model, and camera frames are not cut as a model's input is.
    """

    def __init__(self, config: Config, *, passthrough: bool = False) -> None:
        self.size = config.broadcast.canvas
        self._fit, self._canvas_fit = config.fit, config.broadcast.canvas_fit
        self._passthrough = passthrough
        self._model_size = config.width, config.height
        self._output_size = _size_on_canvas(config)
        self._scale = min(a / b for a, b in zip(self._output_size, self._model_size, strict=True))
        # An output that is not enlarged, or does not come from the camera, needs no detail of it.
        self._carries_detail = self._scale > 1 and config.mode == "img2img"
        self._upsamplers: dict[tuple[Size, Size], GuidedUpsampler] = {}

    def camera(self, image: Image) -> Image:
        """Return a camera frame on the canvas ``(H, W, 3)``, just where the model's output goes."""
        return self._placed(image if self._passthrough else self._cut(image))

    def output(self, image: Image, source: SourceFrame | None, detail: float) -> Image:
        """Return an output of the model on the canvas ``(H, W, 3)``.

        Args:
            image: at the model's size, or on the canvas already.
            source: the camera frame that it was made of, if that was kept.
            detail: share of the camera's fine detail to carry, 0 to 1.
        """
        # The engine's device may have fitted it to the canvas.
        on_canvas = image.shape[1::-1] == self.size
        if source is not None and detail > 0 and self._carries_detail:
            detailed = self._detailed(image, source, detail, on_canvas=on_canvas)
            if detailed is not None:
                return detailed
        if on_canvas:
            return image
        return self._placed(fitted(image, *self._output_size, self._fit))

    def _detailed(
        self, image: Image, source: SourceFrame, detail: float, *, on_canvas: bool
    ) -> Image | None:
        """Return an output on the canvas with the detail of `source`; None if it has none."""
        if on_canvas:
            width, height = (round(side / self._scale) for side in self.size)
            upsample = self._upsampler((width, height), self.size)
            return upsample(image, self.camera(source.image), detail)
        camera = self._cut(source.image)
        upsample = self._upsampler(self._model_size, self._output_size)
        detailed = upsample(image, camera, detail, source.small)
        return None if detailed is None else self._placed(detailed)

    def _upsampler(self, small: Size, large: Size) -> GuidedUpsampler:
        if (small, large) not in self._upsamplers:
            self._upsamplers[small, large] = GuidedUpsampler(small, large)
        return self._upsamplers[small, large]

    def _cut(self, image: Image) -> Image:
        """Return the part of a camera frame that the model sees, as large as its output."""
        return fitted(image, *self._output_size, self._fit)

    def _placed(self, image: Image) -> Image:
        return fitted(image, *self.size, self._canvas_fit)


def _size_on_canvas(config: Config) -> Size:
    """Return the size that the model's output has on the canvas."""
    size, canvas = (config.width, config.height), config.broadcast.canvas
    canvas_fit = config.broadcast.canvas_fit
    stretched = config.fit == canvas_fit == "stretch"
    if stretched or have_same_shape(size, canvas):
        return canvas
    scale = uniform_scale(size, canvas, canvas_fit)
    return round(size[0] * scale), round(size[1] * scale)
