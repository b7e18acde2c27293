"""Image prompts of a stream: their scales, and the camera's image, encoded in the background."""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, Queue

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.image_prompt import EncodedImage, ImagePromptModel
from streamcam.diffusion.steering import ImagePrompt
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.errors import StreamcamError, one_line
from streamcam.settings.config import CAMERA
from streamcam.settings.parameters import Parameters
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.types import Image

NICENESS = 10
"""Added to that of the engine's thread: frames go first where the CPU encodes too."""
ENCODING = "the camera's image is being encoded, and used as an image prompt in a moment"
FAILED = "image prompt camera: its image cannot be encoded: {}"
NOTHING_GRABBED = "image prompt camera has no image yet: grab one (image_prompt_grab)"


class ImagePrompts:
    """The image prompts of each call of the U-Net.

    Args:
        model: encodes images, and has those that were given at start.
        parameters: the first ones.
        memory: for tensors of calls that are recorded.
        device: of the U-Net.
    """

    def __init__(
        self,
        model: ImagePromptModel,
        parameters: Parameters,
        memory: FixedMemory,
        device: torch.device,
    ) -> None:
        self._model = model
        self._memory = memory
        self._device = device
        self._images = dict(model.images)
        self._made: dict[tuple[int, int], Tensor] = {}
        self._grabs = 0
        self._encoder = BackgroundEncoder(model.encode, device)
        self._failure = ""
        self.update(parameters)

    def update(self, parameters: Parameters) -> None:
        """Use the scales of `parameters` from the next call on."""
        self._parameters = parameters
        given = dict(parameters.image_prompt_scale)
        # Filled and not copied: a copy to a GPU would wait for it.
        scales = torch.empty(len(self._model.names), device=self._device)
        for slot, name in enumerate(self._model.names):
            scales[slot].fill_(given.get(name, 0.0) if name in self._images else 0.0)
        self._scales = self._memory("image prompt scales", scales)

    def grab(self, image: Image, parameters: Parameters, *, wait: bool) -> bool:
        """Take `image` as the camera's if `parameters` have asked for it since the last call.

        Args:
            image: of the frame that came with `parameters`.
            parameters: those in use.
            wait: for the image to be encoded, so that it is used with this frame.

        Returns:
            Whether another image than before is used from the next call on.
        """
        if parameters.image_prompt_grab > self._grabs:
            self._failure = ""
            try:
                self._encoder.encode(np.array(image))
            except StreamcamError as error:
                self._failure = FAILED.format(error)
        self._grabs = parameters.image_prompt_grab
        return self._take(wait=wait)

    def _take(self, *, wait: bool) -> bool:
        """Use the image that was encoded since the last call, if any."""
        encoded = self._encoder.result(wait=wait)
        if isinstance(encoded, str):
            self._failure = FAILED.format(encoded)
        if not isinstance(encoded, EncodedImage):
            return False
        if encoded.positive.is_cuda:  # It was made on another stream.
            encoded.positive.record_stream(torch.cuda.current_stream(self._device))
        self._images[CAMERA] = encoded
        for rows in self._made:
            self._make(rows)
        self.update(self._parameters)
        return True

    @property
    def notice(self) -> str:
        """A line on the camera's image where it is not used as asked for; empty if it is."""
        if self._encoder.is_busy:
            return ENCODING
        if self._failure:
            return self._failure
        wanted = [name for name, scale in self._parameters.image_prompt_scale if scale]
        # Beside images that were given at start the camera's may never be wanted.
        return NOTHING_GRABBED if wanted == [CAMERA] and CAMERA not in self._images else ""

    def __call__(self, rows: tuple[int, int]) -> ImagePrompt:
        """Return the image prompts of so many rows with the negative prompt, then the prompt."""
        if rows not in self._made:
            self._make(rows)
        return ImagePrompt(self._made[rows], self._scales)

    def _make(self, rows: tuple[int, int]) -> None:
        negative, positive = rows
        nothing = EncodedImage(self._model.nothing, self._model.nothing)
        images = [self._images.get(name, nothing) for name in self._model.names]
        parts = [_rows((image.positive for image in images), positive)]
        if negative:
            parts.insert(0, _rows((image.negative for image in images), negative))
        made = parts[0] if len(parts) == 1 else torch.cat(parts)
        self._made[rows] = self._memory(("image prompts", rows), made)


def _rows(images: Iterable[Tensor], count: int) -> Tensor:
    joined = torch.cat([*images], dim=1)
    return joined.expand(count, *joined.shape[1:])


class BackgroundEncoder:
    """Encodes images in a thread: the newest one, if several were asked for meanwhile.

    Args:
        encode: encodes an image.
        device: that it does so on.
    """

    def __init__(self, encode: Callable[[Image], EncodedImage], device: torch.device) -> None:
        self._encode = encode
        self._device = device
        self._asked: Queue[Image] = Queue(maxsize=1)
        self._done: Queue[EncodedImage | str] = Queue()
        self._thread: SupervisedThread | None = None
        self._waiting = 0

    @property
    def is_busy(self) -> bool:
        """Whether an image has been asked for that `result` has not returned yet."""
        return self._waiting > 0

    def encode(self, image: Image) -> None:
        """Ask for the keys and values of `image`.

        Raises:
            StreamcamError: no thread can be started.
        """
        if self._thread is None:
            thread = SupervisedThread("image encoder", self._run, threading.Event())
            thread.start()
            self._thread = thread
        with suppress(Empty):
            self._asked.get_nowait()
            self._waiting -= 1
        self._waiting += 1
        self._asked.put(image)

    def result(self, *, wait: bool) -> EncodedImage | str | None:
        """Return the newest encoded image or why there is none; None where nothing is new."""
        newest: EncodedImage | str | None = None
        while self._waiting:
            try:
                newest = self._done.get(block=wait)
            except Empty:
                break
            self._waiting -= 1
        return newest

    def _run(self) -> None:
        if sys.platform == "linux":  # Elsewhere it would be that of the whole process.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            image = self._asked.get()
            try:
                result: EncodedImage | str = self._on_own_stream(image)
            except Exception as error:  # Out of memory, or whatever the libraries raise.
                result = one_line(error)
            self._done.put(result)

    def _on_own_stream(self, image: Image) -> EncodedImage:
        """Encode `image` on a stream of its own where the device is a GPU, and wait for it."""
        if self._device.type != "cuda":
            return self._encode(image)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            encoded = self._encode(image)
        stream.synchronize()
        return encoded
