"""Video diffusion as a Stream: frames gathered into chunks, all of its state made in `_begin`."""

from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.frames.image_tensors import fitted_lanczos, to_images, to_tensor
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import MAX_VIDEO_STEPS
from streamcam.types import Frame, Image
from streamcam.video import noise_control
from streamcam.video.cache_plan import CacheShape, Place, plan
from streamcam.video.device_memory import REMEDY, told_when_out
from streamcam.video.flow_matching import Flow, noised
from streamcam.video.noise_control import NoiseLevel
from streamcam.video.prompt_change import Prompter
from streamcam.video.rollout import Rollout, Steps
from streamcam.video.video_model import VideoModel

RECACHE, RESTART, FIXED, LATENT = "recache", "restart", "fixed", "latent"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame on its way."""

    index: int
    captured_at: float


class Before(NamedTuple):
    """What the chunk before leaves for the next one's noise."""

    image: Image
    latent: Tensor
    """``(1, C, h, w)``."""
    level: NoiseLevel


class VideoStream:
    """StreamDiffusionV2 over `models`: chunks of f latent frames, n steps of n chunks at once.

    Every frame that goes in comes out once, in order, as its own picture. The first chunk has
    4 f + 1 frames and comes out with the call that fills it; each later one has 4 f and comes out
    n - 1 chunks later. `counts` tells how many frames were ``processed``, and how many ``chunks``
    there were.
    """

    _prompts: type[Prompter] = Prompter

    def __init__(self, models: VideoModel, config: Config) -> None:
        video = config.video
        self.chunk = video.chunk
        self.counts: Counter[str] = Counter()
        self._models = models
        self._config = config
        self._flow = Flow.shifted(video.flow_shift)
        self._batched = config.use_denoising_batch
        self._steps = self._first_steps(config.num_steps)
        self._shape = CacheShape(
            video.kv_frames, video.kv_sinks, video.kv_position_limit, video.kv_realign
        )
        # What does not fit the cache is said now, not on air.
        _, second = plan(self._shape, Place(), 1 + video.chunk_latents)
        plan(self._shape, second, video.chunk_latents)
        self._prompter = self._prompts(models.encode_text, video.prompt_change)
        with told_when_out(REMEDY):
            self._begin(config.live)

    @torch.inference_mode()
    def _begin(self, parameters: Parameters) -> None:
        """Assign every bit of state there is."""
        self._parameters = parameters
        self._sow(parameters.seed)
        self._gathered: list[Image] = []
        self._tickets: deque[Ticket] = deque()
        self._in_flight: deque[Tensor] = deque()
        self._before: Before | None = None
        self._models.encode.reset()
        self._models.decode.reset()
        self._rollout = self._new_rollout(self._prompter.begin(parameters))

    def _new_rollout(self, embeds: Tensor) -> Rollout:
        return Rollout(
            self._models.layers,
            embeds,
            self._shape,
            self._steps,
            self._noise_like,
            rows=self._config.num_steps if self._config.use_denoising_batch else 1,
            batched=self._batched,
            sink_threshold=self._config.video.sink_threshold,
        )

    def _first_steps(self, count: int) -> Steps:
        return Steps(self._config.video.timesteps(count), self._flow)

    def _sow(self, seed: int) -> None:
        root = torch.Generator("cpu").manual_seed(seed)
        seeds = torch.randint(2**62, (MAX_VIDEO_STEPS,), generator=root).tolist()
        self._generators = [torch.Generator("cpu").manual_seed(own) for own in seeds]

    def _noise_like(self, latents: Tensor, step: int) -> Tensor:
        # Drawn on the CPU: a seed gives the same noise on every device.
        noise = torch.randn(latents.shape, generator=self._generators[step])
        return noise.to(latents.device, non_blocking=True)

    def warm_up(self) -> None:
        """Run as many chunks as ``warmup`` asks for through every step, and forget them."""
        black = Frame(np.zeros((self._config.height, self._config.width, 3), np.uint8), 0, 0.0)
        chunks = self._config.warmup * (1 + self._config.num_steps)
        for _ in range(1 + self.chunk * chunks if chunks else 0):
            self(black, self._config.live)
        self.counts.clear()
        self._begin(self._config.live)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame in; return the frames whose pictures are now due.

        Args:
            frame: any size; it is fitted to the stream's.
            parameters: the snapshot to run with; the last of a chunk rules the chunk.
        """
        let_go = self._follow(parameters)
        self._gather(frame)
        return let_go + (self._run() if not self._missing else [])

    @torch.inference_mode()
    def drain(self, parameters: Parameters) -> list[Frame]:
        """Return the frames still in flight, as if the last frame had stood still."""
        frames: list[Frame] = []
        if self._gathered:
            self._gathered += self._gathered[-1:] * self._missing
            frames += self._run()
        frames += self._finish()
        self._begin(parameters)
        return frames

    def _gather(self, frame: Frame) -> None:
        self._gathered.append(
            fitted_lanczos(frame.image, self._config.width, self._config.height, self._config.fit)
        )
        self._tickets.append(Ticket(frame.index, frame.captured_at))
        self.counts["processed"] += 1

    def _finish(self) -> list[Frame]:
        """Take all chunks in flight through the steps they lack, and return their frames."""
        frames: list[Frame] = []
        while self._rollout.in_flight:
            frames += self._release(self._rollout.advance())
        return frames

    def _change_steps(self, count: int, *, batched: bool) -> list[Frame]:
        """Go on with other steps, without a cut; return the frames that were in flight."""
        frames = self._finish()
        self._steps, self._batched = self._first_steps(count), batched
        self._rollout.change(self._steps, batched=batched)
        return frames

    @property
    def _missing(self) -> int:
        """Frames that the chunk being gathered still lacks."""
        return self.chunk + (self._before is None) - len(self._gathered)

    def _follow(self, parameters: Parameters) -> list[Frame]:
        """Take the new snapshot; return the frames that a reset lets go."""
        before = self._parameters
        if parameters.reset != before.reset:
            let_go: list[Frame] = self.drain(parameters)
            return let_go
        self._parameters = parameters
        if parameters.seed != before.seed:
            self._sow(parameters.seed)
        return []

    def _run(self) -> list[Frame]:
        """Take the chunk that was gathered one step on, with all that are in flight."""
        self.counts["chunks"] += 1
        images, self._gathered = self._gathered, []
        with self._models.layers.watch("encode"):
            latents = self._models.encode(to_tensor(images, self._models.device))
        level = self._level(images, latents)
        self._before = Before(images[-1], latents[-1:], level)
        frames = self._change_prompt(level)
        return frames + self._release(self._denoise(latents, level))

    def _level(self, images: list[Image], latents: Tensor) -> NoiseLevel:
        """Return how much noise a chunk gets."""
        kind, strength = self._config.video.noise_control, self._parameters.strength
        control = noise_control.CONTROLS.get(kind, noise_control.PIXEL)
        if strength is not None:
            control = replace(control, noise_scale=strength)
        before, timesteps = self._before, self._steps.timesteps
        if before is None or kind == FIXED:
            return noise_control.at_rest(control, timesteps[0])
        if kind == LATENT:
            both = self._models.normalise(torch.cat([before.latent, latents]))
            differences = noise_control.rms_differences(both).tolist()
        else:
            differences = noise_control.pixel_differences([before.image, *images])
        second = timesteps[1] if len(timesteps) > 1 else 0
        return noise_control.next_level(control, before.level, differences, second_step=second)

    def _change_prompt(self, level: NoiseLevel) -> list[Frame]:
        """Bring the prompt up to date; return the frames that a restart lets go.

        A restart begins the new video with the chunks in flight, so none of them comes out late
        or as the old prompt had it.
        """
        change = self._prompter.follow(self._parameters)
        if change is None:
            return []
        if change.kind == RESTART:
            self._rollout = self._new_rollout(change.embeds)
            waiting, self._in_flight = self._in_flight, deque()
            return [f for latents in waiting for f in self._release(self._at_once(latents, level))]
        if change.kind == RECACHE:
            self._rollout.recache(change.embeds)
        else:
            self._rollout.tell(change.embeds)
        return []

    def _denoise(self, latents: Tensor, level: NoiseLevel) -> Tensor | None:
        """Return the chunk of latents that is done with this call."""
        if not (self._rollout.begun and self._batched):
            return self._at_once(latents, level)
        self._in_flight.append(latents)
        return self._rollout.advance(self._noised(latents, level), level.timestep)

    def _at_once(self, latents: Tensor, level: NoiseLevel) -> Tensor:
        x_0 = self._rollout.at_once(self._noised(latents, level), level.timestep)
        if self._batched:
            self._rollout.spread()
        return x_0

    def _noised(self, latents: Tensor, level: NoiseLevel) -> Tensor:
        return noised(latents, self._noise_like(latents, 0), level.noise_scale)

    def _release(self, x_0: Tensor | None) -> list[Frame]:
        """Decode a chunk that is done and hand its pictures to the frames they belong to."""
        if x_0 is None:
            return []
        if len(self._in_flight) > self._rollout.in_flight:
            self._in_flight.popleft()
        with self._models.layers.watch("decode"):
            decoded = self._models.decode(x_0)
        pictures = to_images(decoded)
        # What is left over only filled up the last chunk.
        due = [self._tickets.popleft() for _ in pictures[: len(self._tickets)]]
        return [
            Frame(picture, ticket.index, ticket.captured_at)
            for picture, ticket in zip(pictures, due, strict=False)
        ]
