"""Video diffusion as a Stream: chunks of frames in, frames out; `_reset` assigns all its state."""

from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.engines.device_memory import REMEDY, out_of_memory_errors
from streamcam.frames import frame_transfer
from streamcam.frames.image_tensors import fitted_lanczos
from streamcam.frames.transfer import FrameTransfer
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import MAX_VIDEO_STEPS
from streamcam.types import Frame, Image
from streamcam.video import noise_control
from streamcam.video.cache_plan import CacheShape, Cursor, plan_chunk
from streamcam.video.chunk_stages import ChunkStages
from streamcam.video.flow_matching import FlowSchedule, Steps, add_noise
from streamcam.video.noise_control import NoiseLevel
from streamcam.video.prompt_change import PromptTracker
from streamcam.video.rollout import Rollout
from streamcam.video.video_model import VideoModel

RECACHE, RESTART = "recache", "restart"
FIXED, LATENT, SCHEDULE = "fixed", "latent", "schedule"


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame whose output is not there yet."""

    index: int
    captured_at: float
    duration: float | None


class PreviousChunk(NamedTuple):
    """Last frame and noise level of a chunk, for the noise of the next one."""

    image: Image
    latent: Tensor
    """``(1, C, h, w)``."""
    level: NoiseLevel


class VideoStream:
    """StreamDiffusionV2: chunks of f latent frames, n denoising steps of n chunks in one call.

    Every input frame gives one output frame, in order. The first chunk has 4 f + 1 frames, or
    4 f - 3, and comes out with the call that fills it; each later one has 4 f and comes out n - 1
    chunks later.
    `counts` holds the numbers of frames ``processed`` and of ``chunks``.

    Args:
        models: the stages.
        config: fixed settings.
        transfer: takes frames to the models' device and outputs back; by default for `render`.

    Raises:
        ConfigError: a chunk does not fit in the KV cache.
        OutOfMemory: the device has too little memory.
    """

    accepts_any_size = False
    is_settled = True
    """Frames are fitted before they come."""
    notice = ""
    """Prompts are hardly ever longer than what is read; the log says so where one is."""
    _tracker_type: type[PromptTracker] = PromptTracker

    def __init__(
        self, models: VideoModel, config: Config, transfer: FrameTransfer | None = None
    ) -> None:
        video = config.video
        self.chunk = video.chunk
        self.counts: Counter[str] = Counter()
        self._models = models
        self._config = config
        self._transfer = transfer or frame_transfer(config, models.device)
        self._stages = ChunkStages(models, self._transfer)
        self._flow = FlowSchedule.shifted(video.flow_shift)
        self._batched = config.use_denoising_batch
        self._steps = self._steps_of(config.num_steps)
        self._shape = CacheShape(
            video.kv_frames, video.kv_sinks, video.kv_position_limit, video.kv_realign
        )
        # Raises now, not on air, where a chunk does not fit in the cache.
        self._check_fit(video.chunk_latents)
        self._prompt_tracker = self._tracker_type(models.encode_text, video.prompt_change)
        with out_of_memory_errors(REMEDY):
            self._reset(config.live)

    def _check_fit(self, chunk: int) -> None:
        """Raise ConfigError where chunks of so many latent frames do not fit in the KV cache."""
        _, second = plan_chunk(self._shape, Cursor(), chunk + self._config.video.longer_first_chunk)
        plan_chunk(self._shape, second, chunk)

    @torch.inference_mode()
    def _reset(self, parameters: Parameters) -> None:
        """Assign all state."""
        self._parameters = parameters
        self._reseed(parameters.seed)
        self._transfer.clear()
        self._images: list[Image] = []
        self._pending_frames: deque[PendingFrame] = deque()
        self._in_flight: deque[Tensor] = deque()
        self._previous: PreviousChunk | None = None
        self._models.encode.reset()
        self._models.decode.reset()
        self._rollout = self._new_rollout(self._prompt_tracker.start(parameters))

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

    def _steps_of(self, count: int) -> Steps:
        video = self._config.video
        timesteps: tuple[float, ...] = video.timesteps(count)
        if video.warp_timesteps:
            timesteps = tuple(self._flow.warp_timesteps(video.timesteps(count)))
        return Steps(timesteps, self._flow, video.clean_context)

    def _reseed(self, seed: int) -> None:
        root = torch.Generator("cpu").manual_seed(seed)
        seeds = torch.randint(2**62, (MAX_VIDEO_STEPS,), generator=root).tolist()
        self._generators = [torch.Generator("cpu").manual_seed(child) for child in seeds]

    def _noise_like(self, latents: Tensor, step: int) -> Tensor:
        # Drawn on the CPU: a seed gives the same noise on every device.
        drawn = torch.randn(latents.shape, generator=self._generators[step])
        noise = torch.empty_like(drawn, device=latents.device)
        self._transfer.copy_to_device(noise, drawn)
        return noise

    def warm_up(self) -> None:
        """Run ``warmup`` chunks through every step, and discard them."""
        black = Frame(np.zeros((self._config.height, self._config.width, 3), np.uint8), 0, 0.0)
        chunks = self._config.warmup * (1 + self._config.num_steps)
        extra = self._config.video.first_extra
        for _ in range(self.chunk * chunks + extra if chunks else 0):
            self(black, self._config.live)
        self.counts.clear()
        self._reset(self._config.live)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame; return the output frames that are done.

        Args:
            frame: of any size; it is fitted to the stream's.
            parameters: of this frame; those of a chunk's last frame apply to the chunk.
        """
        released = self._update_parameters(parameters)
        self._add_frame(frame)
        return released + (self._run_chunk() if not self._missing else [])

    @torch.inference_mode()
    def drain(self, parameters: Parameters) -> list[Frame]:
        """Return the frames still in flight, as if the last frame had been repeated."""
        frames: list[Frame] = []
        if self._images:
            self._images += self._images[-1:] * self._missing
            frames += self._run_chunk()
        frames += self._flush()
        self._reset(parameters)
        return frames

    def _add_frame(self, frame: Frame) -> None:
        image = fitted_lanczos(
            frame.image, self._config.width, self._config.height, self._config.fit
        )
        self._images.append(image)
        self._transfer.upload(image)
        self._pending_frames.append(PendingFrame(frame.index, frame.captured_at, frame.duration))
        self.counts["processed"] += 1

    def _flush(self) -> list[Frame]:
        """Run the remaining steps of all chunks in flight, and return their frames."""
        frames: list[Frame] = []
        while self._rollout.in_flight:
            frames += self._decode_frames(self._rollout.advance())
        return frames

    def _change_steps(self, count: int, *, batched: bool) -> list[Frame]:
        """Change the denoising steps without a cut; return the frames that were in flight."""
        frames = self._flush()
        self._steps, self._batched = self._steps_of(count), batched
        self._rollout.set_steps(self._steps, batched=batched)
        return frames

    @property
    def _missing(self) -> int:
        """Number of frames that the current chunk still needs."""
        extra = self._config.video.first_extra if self._previous is None else 0
        return self.chunk + extra - len(self._images)

    def _update_parameters(self, parameters: Parameters) -> list[Frame]:
        """Apply the new parameters; return the frames that a reset releases."""
        previous = self._parameters
        if parameters.reset != previous.reset:
            released: list[Frame] = self.drain(parameters)
            return released
        self._parameters = parameters
        if parameters.seed != previous.seed:
            self._reseed(parameters.seed)
        return []

    def _run_chunk(self) -> list[Frame]:
        """Run one step of the current chunk and of all in flight; return the finished frames."""
        self.counts["chunks"] += 1
        images, self._images = self._images, []
        latents = self._stages.encode(len(images))
        level = self._noise_level(images, latents)
        self._previous = PreviousChunk(images[-1], latents[-1:], level)
        frames = self._update_prompt(level)
        return frames + self._decode_frames(self._denoise(latents, level))

    def _noise_level(self, images: list[Image], latents: Tensor) -> NoiseLevel:
        """Return the noise level of a chunk, from the motion in it."""
        kind, strength = self._config.video.noise_control, self._parameters.strength
        previous, timesteps = self._previous, self._steps.timesteps
        second = timesteps[1] if len(timesteps) > 1 else 0
        if kind == SCHEDULE:
            # In a batch every chunk goes through all later steps, whose noise is added again.
            lowest = second if self._batched else 1
            return noise_control.scheduled_level(self._steps, strength, lowest=lowest)
        control = noise_control.CONTROLS.get(kind, noise_control.PIXEL)
        if strength is not None:
            control = replace(control, noise_scale=strength)
        if previous is None or kind == FIXED:
            return noise_control.initial_level(control, timesteps[0])
        if kind == LATENT:
            both = self._models.normalise(torch.cat([previous.latent, latents]))
            differences = noise_control.rms_differences(both).tolist()
        else:
            differences = noise_control.pixel_differences([previous.image, *images])
        return noise_control.next_level(control, previous.level, differences, second_step=second)

    def _update_prompt(self, level: NoiseLevel) -> list[Frame]:
        """Apply a new prompt, if there is one; return the frames that a restart releases.

        A restart begins the new video with the chunks in flight, so none of them comes out late
        or with the old prompt.
        """
        change = self._prompt_tracker.update(self._parameters)
        if change is None:
            return []
        if change.kind == RESTART:
            self._rollout = self._new_rollout(change.embeds)
            in_flight, self._in_flight = self._in_flight, deque()
            return [
                f
                for latents in in_flight
                for f in self._decode_frames(self._denoise_sequentially(latents, level))
            ]
        if change.kind == RECACHE:
            self._rollout.recache(change.embeds)
        else:
            self._rollout.set_prompt(change.embeds)
        return []

    def _denoise(self, latents: Tensor, level: NoiseLevel) -> Tensor | None:
        """Add a chunk; return the denoised chunk ``(f, C, h, w)`` that is done, if any."""
        if not (self._rollout.started and self._batched):
            return self._denoise_sequentially(latents, level)
        self._in_flight.append(latents)
        return self._rollout.advance(self._add_noise(latents, level), level.timestep)

    def _denoise_sequentially(self, latents: Tensor, level: NoiseLevel) -> Tensor:
        x_0 = self._rollout.denoise_sequentially(self._add_noise(latents, level), level.timestep)
        if self._batched:
            self._rollout.copy_row()
        return x_0

    def _add_noise(self, latents: Tensor, level: NoiseLevel) -> Tensor:
        return add_noise(latents, self._noise_like(latents, 0), level.noise_scale)

    def _decode_frames(self, x_0: Tensor | None) -> list[Frame]:
        """Decode a denoised chunk; return its images with the index and time of their frames."""
        if x_0 is None:
            self._transfer.synchronize()
            return []
        if len(self._in_flight) > self._rollout.in_flight:
            self._in_flight.popleft()
        images, wait = self._stages.decode(x_0)
        wait()
        # Images beyond the pending frames are repeats that only filled up the last chunk.
        frames = [self._pending_frames.popleft() for _ in images[: len(self._pending_frames)]]
        return [
            Frame(image.image, frame.index, frame.captured_at, image.packed, frame.duration)
            for image, frame in zip(images, frames, strict=False)
        ]
