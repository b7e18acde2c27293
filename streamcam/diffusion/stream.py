"""Image diffusion as a Stream: the one place of the house that keeps its state."""

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from streamcam.config import Config
from streamcam.diffusion import similarity
from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image import fitted, to_images, to_tensor
from streamcam.diffusion.models import Models
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stream_batch import (
    InFlight,
    Noise,
    Plan,
    at_rest,
    noised,
    sequential,
    stream_batch,
)
from streamcam.parameters import Parameters
from streamcam.types import Frame, Image


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame on its way: whose picture is due, in the order of the frames."""

    index: int
    captured_at: float
    skipped: bool
    """It was like the last one processed, and gets the same picture."""
    look: similarity.Vector | None
    """The frame as the similarity filter sees it, where it will need that."""

    def collect(self, picture: Image) -> Frame:
        """Return the frame with its picture."""
        return Frame(picture, self.index, self.captured_at)


class DiffusionStream:
    """StreamDiffusion over `models`: `n` steps of different frames in one call, `f` at a time.

    Every frame that goes in comes out once, in order, as its own picture: n - 1 calls later,
    or with the frame that it was found similar to. `counts` tells how many frames were
    ``processed`` and ``skipped``, and how many ``calls`` there were.
    """

    def __init__(self, models: Models, config: Config) -> None:
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

    def _reset(self, parameters: Parameters) -> None:
        """Assign every bit of state there is."""
        self._parameters = parameters
        self._sow(parameters.seed)
        self._schedule(parameters)
        self._draws = np.random.default_rng(parameters.seed)
        self._state: InFlight | None = None
        self._calls = 0
        self._gathered: list[Image] = []
        self._tickets: deque[Ticket] = deque()
        self._latents: Tensor | None = None
        self._picture: Image | None = None
        self._on_air: similarity.Vector | None = None
        self._accepted: similarity.Vector | None = None
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
        return torch.randn(shape, generator=self._generator).to(self._models.device)

    def _schedule(self, parameters: Parameters) -> None:
        self._scheduled = (self._config.indices(parameters), parameters.num_inference_steps)
        self._steps = steps_at(*self._scheduled, self._models.alphas_cumprod)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame in; return the frames whose pictures are now due.

        Args:
            frame: any size; it is fitted to the stream's.
            parameters: the snapshot to run with; latents in flight follow it too.
        """
        let_go = self._follow(parameters)
        image = fitted(frame.image, self._config.width, self._config.height, self._config.fit)
        look = self._look(image)
        skipped = look is not None and self._skips(look)
        kept = None if skipped else look
        self._tickets.append(Ticket(frame.index, frame.captured_at, skipped, kept))
        if skipped:
            self.counts["skipped"] += 1
            self._skipped_in_a_row += 1
            return let_go + self._like_the_last()
        self.counts["processed"] += 1
        self._skipped_in_a_row = 0
        self._unsettled = max(0, self._unsettled - 1)
        self._accepted = look
        self._gathered.append(image)
        return let_go + (self._run(self._gathered) if len(self._gathered) == self.chunk else [])

    def _look(self, image: Image) -> similarity.Vector | None:
        # Pictures made from noise alone owe nothing to the frames, alike or not.
        filtered = self._parameters.enable_similar_image_filter and not self._from_noise
        return similarity.vector(image) if filtered else None

    @torch.inference_mode()
    def drain(self, parameters: Parameters) -> list[Frame]:
        """Return the frames still in flight, as if the last frame had stood still."""
        frames: list[Frame] = []
        if self._gathered:
            missing = self.chunk - len(self._gathered)
            frames += self._run(self._gathered + self._gathered[-1:] * missing)
        while self._tickets:
            frames += self._run(None)
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
            self._unsettled = self._n * self.chunk
        return []

    def _skips(self, look: similarity.Vector) -> bool:
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

    def _run(self, images: list[Image] | None) -> list[Frame]:
        """Make one call of the models; without `images` the last ones stand still."""
        self.counts["calls"] += 1
        self._gathered = []
        now = self._parameters
        plan = Plan(self._steps, self._noise, self._guidance, now.guidance_scale, now.delta)
        x_t = self._entering(images, plan)
        if not self._config.use_denoising_batch:
            return self._release(sequential(x_t, plan, self._denoise))
        if self._state is None:
            self._state = at_rest(x_t if self._latents is None else self._latents, self._n)
        x_0, self._state = stream_batch(x_t, self._state, plan, self._denoise)
        self._calls = min(self._calls + 1, self._n)
        return self._release(x_0) if self._calls == self._n else []

    def _entering(self, images: list[Image] | None, plan: Plan) -> Tensor:
        """Return the latents that enter the first step: noised frames, or noise alone."""
        if self._from_noise:
            return self._draw_per_frame()
        if images is not None:
            noise = self._draw_per_frame() if self._models.samples else None
            self._latents = self._models.encode(to_tensor(images, self._models.device), noise)
        assert self._latents is not None
        return noised(self._latents, plan)

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
        flat = rows.flatten(0, 1)
        eps = self._models.denoise(flat, timesteps.repeat_interleave(f), condition)
        return eps.reshape(rows.shape)

    def _release(self, x_0: Tensor) -> list[Frame]:
        """Decode the pictures that have come out and hand them to the frames they belong to."""
        frames: list[Frame] = []
        for picture in to_images(self._models.decode(x_0)):
            if not self._tickets:
                break  # What is left only filled up the last call.
            ticket = self._tickets.popleft()
            self._picture, self._on_air = picture, ticket.look
            frames.append(ticket.collect(picture))
            frames += self._like_the_last()
        return frames

    def _like_the_last(self) -> list[Frame]:
        """Return the frames next in turn that were similar to the one last shown."""
        frames: list[Frame] = []
        while self._tickets and self._tickets[0].skipped and self._picture is not None:
            frames.append(self._tickets.popleft().collect(self._picture))
        return frames
