"""Image diffusion as a Stream: the one place of the house that keeps its state."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion import similarity
from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stream_batch import (
    InFlight,
    Noise,
    Plan,
    at_rest,
    sequential,
    stream_batch,
)
from streamcam.frames import frame_transfer
from streamcam.frames.transfer import DownloadedImage, FrameTransfer, WaitForDownload
from streamcam.pixels import Vector
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame on its way: whose picture is due, in the order of the frames."""

    index: int
    captured_at: float
    skipped: bool
    """It was like the last one processed, and gets the same picture."""
    look: Vector | None
    """The frame as the similarity filter sees it, where it will need that."""

    def collect(self, picture: DownloadedImage) -> Frame:
        """Return the frame with its picture."""
        return Frame(picture.image, self.index, self.captured_at, picture.packed)


class Landing(NamedTuple):
    """Frames whose pictures are on their way back from the device."""

    frames: list[Frame]
    wait: WaitForDownload


class DiffusionStream:
    """StreamDiffusion over `models`: `n` steps of different frames in one call, `f` at a time.

    Every frame that goes in comes out once, in order, as its own picture: n - 1 calls later,
    or with the frame that it was found similar to. `counts` tells how many frames were
    ``processed`` and ``skipped``, and how many ``calls`` there were.

    Args:
        models: what runs.
        config: how.
        path: takes frames to the models' device and pictures back; by default off air.
        ahead: leave the pictures of a call to the next one, where the device works beside the
            processor: it then never waits for what to do, and pictures come a call later.
    """

    def __init__(
        self,
        models: ImageModel,
        config: Config,
        transfer: FrameTransfer | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self.transfer = transfer or frame_transfer(config, models.device)
        self._ahead = ahead and self.transfer.on_device
        self.chunk = config.frame_buffer_size
        self.counts: Counter[str] = Counter()
        self._models = models
        self._config = config
        self._n = config.num_steps
        self._guidance = GUIDANCE[config.cfg_type]
        self._from_noise = config.mode == "txt2img"
        self._metric = similarity.METRICS[config.similar_image_filter_metric]
        self._conditioner = Conditioner(models)
        self._reset(config.live)

    @property
    def takes_whole(self) -> bool:
        """Whether the device fits the frames, whatever their size."""
        return self.transfer.on_device

    def _reset(self, parameters: Parameters) -> None:
        """Assign every bit of state there is."""
        self._parameters = parameters
        self._sow(parameters.seed)
        self._schedule(parameters)
        self._plan = self._planned()
        self._draws = np.random.default_rng(parameters.seed)
        self._state: InFlight | None = None
        self._calls = 0
        self._gathered = 0
        self.transfer.clear()
        self._tickets: deque[Ticket] = deque()
        self._latents: Tensor | None = None
        self._landing: Landing | None = None
        self._picture: DownloadedImage | None = None
        self._on_air: Vector | None = None
        self._accepted: Vector | None = None
        self._skipped_in_a_row = 0
        self._unsettled = 0

    def warm_up(self) -> None:
        """Make the calls that ``warmup`` asks for, and forget them.

        The first call of a compiled model takes its time, and is better not a frame's.
        """
        black = Frame(np.zeros((self._config.height, self._config.width, 3), np.uint8), 0, 0.0)
        unfiltered = self._config.live.changed({"enable_similar_image_filter": False})
        # Fewer than n would not come to the last stage.
        calls = max(self._config.warmup, self._n) if self._config.warmup else 0
        for _ in range(calls * self.chunk):
            self(black, unfiltered)
        self._land()
        self.counts.clear()
        self._reset(self._config.live)

    def _sow(self, seed: int) -> None:
        # The published draw: all steps at once from a CPU generator, which then goes on.
        self._generator = torch.Generator("cpu").manual_seed(seed)
        stock = self._draw(self._n).unsqueeze(1)
        added = stock
        if not self._config.do_add_noise:
            added = torch.cat([stock[:1], torch.zeros_like(stock[1:])])
        self._noise = Noise(added, stock)

    def _draw(self, rows: int) -> Tensor:
        shape = (rows, *self._models.latent_shape)
        return self.transfer.send(torch.randn(shape, generator=self._generator))

    def _schedule(self, parameters: Parameters) -> None:
        self._scheduled = (self._config.indices(parameters), parameters.num_inference_steps)
        self._steps = steps_at(*self._scheduled, self._models.alphas_cumprod)

    def _planned(self) -> Plan:
        now = self._parameters
        return Plan(self._steps, self._noise, self._guidance, now.guidance_scale, now.delta)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame in; return the frames whose pictures are now due.

        Args:
            frame: any size; it is fitted to the stream's.
            parameters: the snapshot to run with; latents in flight follow it too.
        """
        let_go = self._follow(parameters)
        image = self.transfer.prepare(frame.image)
        look = self.transfer.similarity_vector(image) if self._filters else None
        skipped = look is not None and self._skips(look)
        kept = None if skipped else look
        self._tickets.append(Ticket(frame.index, frame.captured_at, skipped, kept))
        if skipped:
            self.counts["skipped"] += 1
            self._skipped_in_a_row += 1
            return let_go + self._land() + self._like_the_last()
        self.counts["processed"] += 1
        self._skipped_in_a_row = 0
        self._unsettled = max(0, self._unsettled - 1)
        self._accepted = look
        self._gathered += 1
        if not self._from_noise:
            self.transfer.upload(image)
        return let_go + (self._run(fresh=True) if self._gathered == self.chunk else [])

    @property
    def _filters(self) -> bool:
        # Pictures made from noise alone owe nothing to the frames, alike or not.
        return self._parameters.enable_similar_image_filter and not self._from_noise

    @torch.inference_mode()
    def drain(self, parameters: Parameters) -> list[Frame]:
        """Return the frames still in flight, as if the last frame had stood still."""
        frames: list[Frame] = []
        if self._gathered:
            frames += self._run(fresh=True)
        while self._tickets:
            frames += self._run(fresh=False)
        frames += self._land()
        self._reset(parameters)
        return frames

    def _follow(self, parameters: Parameters) -> list[Frame]:
        """Bring what derives from the parameters up to date with the new snapshot.

        Returns:
            The frames that a reset lets go; none otherwise.
        """
        before = self._parameters
        if parameters is before:
            return []
        indices = self._config.indices(self._config.check(parameters))
        if parameters.reset != before.reset:
            let_go: list[Frame] = self.drain(parameters)
            return let_go
        self._parameters = parameters
        if parameters.seed != before.seed:
            self._sow(parameters.seed)
        if (indices, parameters.num_inference_steps) != self._scheduled:
            self._schedule(parameters)
        if parameters != before:
            self._plan = self._planned()
            self._unsettled = self._n * self.chunk
        return []

    def _skips(self, look: Vector) -> bool:
        """Decide whether a frame is similar enough to be left out (section 3.5).

        Never while the picture on air shows another scene or other parameters than it would:
        what is in flight then is carried out first.
        """
        if self._accepted is None or self._on_air is None or self._unsettled:
            return False
        now = self._parameters
        threshold = now.similar_image_filter_threshold
        if self._metric(look, self._on_air) < threshold:
            return False
        probability = similarity.skip_probability(self._metric(look, self._accepted), threshold)
        return similarity.skips(
            probability,
            self._draws.random(),
            self._skipped_in_a_row,
            now.similar_image_filter_max_skip_frame,
        )

    def _run(self, *, fresh: bool) -> list[Frame]:
        """Make one call of the models; without `fresh` frames the last ones stand still."""
        self.counts["calls"] += 1
        self._gathered = 0
        x_t = self._entering(fresh=fresh)
        if not self._config.use_denoising_batch:
            return self._release(sequential(x_t, self._plan, self._denoise))
        if self._state is None:
            self._state = at_rest(x_t if self._latents is None else self._latents, self._n)
        x_0, self._state = stream_batch(x_t, self._state, self._plan, self._denoise)
        self._calls = min(self._calls + 1, self._n)
        if self._calls == self._n:
            return self._release(x_0)
        self.transfer.synchronize()
        return []

    def _entering(self, *, fresh: bool) -> Tensor:
        """Return the latents that enter the first step: noised frames, or noise alone."""
        if self._from_noise:
            return self._draw_per_frame()
        if fresh:
            noise = self._draw_per_frame() if self._models.samples else None
            self._latents = self._models.encode(self.transfer.batch(), noise)
        assert self._latents is not None
        return self._plan.first(self._latents)

    def _draw_per_frame(self) -> Tensor:
        # One draw a frame: f frames at a time then see what they would see one by one.
        return torch.cat([self._draw(1) for _ in range(self.chunk)])

    def _denoise(self, rows: Tensor, timesteps: Tensor) -> Tensor:
        """Run the U-Net on ``(S, f, C, h, w)``: rows with the negative prompt, then the others."""
        total, f = rows.shape[:2]
        positive = self._n if self._config.use_denoising_batch else 1
        condition = self._conditioner(
            self._parameters, negative=(total - positive) * f, positive=positive * f
        )
        told = timesteps if f == 1 else timesteps.repeat_interleave(f)
        eps = self._models.denoise(rows.flatten(0, 1), told, condition)
        return eps.reshape(rows.shape)

    def _release(self, x_0: Tensor) -> list[Frame]:
        """Decode the pictures that have come out and hand them to the frames they belong to.

        Returns:
            The frames whose pictures have come back: of this call, or `ahead` of the one before.
        """
        pictures, wait = self.transfer.download(self._models.decode(x_0))
        before = self._land()
        frames: list[Frame] = []
        for picture in pictures:
            if not self._tickets:
                break  # What is left only filled up the last call.
            ticket = self._tickets.popleft()
            self._picture, self._on_air = picture, ticket.look
            frames.append(ticket.collect(picture))
            frames += self._like_the_last()
        self._landing = Landing(frames, wait)
        return before if self._ahead else self._land()

    def _land(self) -> list[Frame]:
        """Return the frames whose pictures were on their way, after the one wait of a call."""
        if self._landing is None:
            return []
        (frames, wait), self._landing = self._landing, None
        wait()
        return frames

    def _like_the_last(self) -> list[Frame]:
        """Return the frames next in turn that were similar to the one last shown."""
        frames: list[Frame] = []
        while self._tickets and self._tickets[0].skipped and self._picture is not None:
            frames.append(self._tickets.popleft().collect(self._picture))
        return frames
