"""The video stream on air: what runs, and on which frames, as the scheduler chooses."""

import time
from collections.abc import Iterator
from math import ceil

import numpy as np
import torch

from streamcam.errors import ConfigError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame
from streamcam.video.cache_plan import Cursor, plan_chunk
from streamcam.video.delivery_stats import DeliveryStats
from streamcam.video.device_memory import (
    REMEDY,
    OutOfMemory,
    out_of_memory_errors,
    release_cached_memory,
)
from streamcam.video.prompt_change import BackgroundPromptTracker
from streamcam.video.scheduler import Choice, LatencyTable, Objective, Scheduler
from streamcam.video.video_model import VideoModel
from streamcam.video.video_stream import VideoStream

TIMED_CALLS = 5


class LiveVideoStream(VideoStream):
    """`VideoStream` held to a rate and a deadline: frames may be given up, and are then counted.

    Frames wait in the scheduler's queue. A call runs one chunk at the most, in the way that suits
    what was measured while warming up, or what `table` says. What is lost is in `counts`, as
    ``dropped``; `delivery_summary` tells more.
    """

    _tracker_type = BackgroundPromptTracker

    def __init__(
        self,
        models: VideoModel,
        config: Config,
        table: LatencyTable | None = None,
        report: Report = lambda _: None,
    ) -> None:
        super().__init__(models, config)
        self._report = report
        self._choice = Choice(config.video.chunk_latents, config.num_steps, self._batched)
        self._table = table
        self._objective = Objective(
            target_fps=config.video.target_fps,
            deadline_s=config.video.deadline,
            capacity=config.video.input_capacity,
            pipeline_depth=models.layers.pipeline_depth,
        )
        self._scheduler: Scheduler[Frame] | None = (
            None if table is None else self._new_scheduler(table)
        )

    def warm_up(self) -> None:
        """Measure what a call takes in every way that the model may run, and forget the frames.

        Raises:
            OutOfMemory: there is none that the device has the memory for.
        """
        if self._table is None:
            self._table = self._measure()
            self._scheduler = self._new_scheduler(self._table)
        self.counts.clear()
        self._reset(self._config.live)

    @property
    def delivery_summary(self) -> str:
        """How the frames have fared, in one line."""
        return (
            "" if self._scheduler is None else f"{_describe(self._choice)}: {self._scheduler.stats}"
        )

    @property
    def delivery_stats(self) -> DeliveryStats:
        """The same in figures."""
        assert self._scheduler is not None, "warm_up comes first"
        return self._scheduler.stats

    def put(self, frame: Frame) -> None:
        """Let a frame wait for its chunk; the next call decides."""
        assert self._scheduler is not None, "warm_up comes first"
        self._scheduler.put(frame, frame.captured_at)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame in, run a chunk if one is due, and return the frames that are done.

        Args:
            frame: any size; stamped with the monotonic clock.
            parameters: the newest snapshot; it rules the chunk that runs now.
        """
        self.put(frame)
        assert self._scheduler is not None
        released = self._update_parameters(parameters)
        first = self._previous is None
        job = self._scheduler.take(time.monotonic(), first=first)
        self.counts["dropped"] = self._scheduler.stats.dropped
        if job is None:
            return self._record_delivery(released)
        released += self._switch_to(job.choice)
        began = time.perf_counter()
        made = self._run_frames(job.frames)
        if made and not first:  # While the batch fills, less runs than the table is about.
            self._scheduler.record_call(job.choice, time.perf_counter() - began)
        return self._record_delivery(released + made)

    def _run_frames(self, frames: list[Frame]) -> list[Frame]:
        """Run a chunk, and wait until the device is done with it."""
        for frame in frames:
            self._add_frame(frame)
        made = self._run_chunk()
        if self._models.device.type == "cuda":
            torch.cuda.synchronize(self._models.device)
        return made

    def _record_delivery(self, frames: list[Frame]) -> list[Frame]:
        assert self._scheduler is not None
        self._scheduler.record_delivery((frame.captured_at for frame in frames), time.monotonic())
        return frames

    def _switch_to(self, choice: Choice) -> list[Frame]:
        """Run as `choice` says from now on; return the frames that were in flight until now."""
        before, self._choice = self._choice, choice
        if choice[1:] == before[1:]:
            return []  # Chunks of any length go into a batch.
        return self._change_steps(choice.steps, batched=choice.batched)

    def _new_scheduler(self, table: LatencyTable) -> Scheduler[Frame]:
        return Scheduler(table, self._objective)

    def _measure(self) -> LatencyTable:
        """Return the seconds of a call in every way there is, the least work first.

        Once calls take longer than the deadline, what is more work need not be tried.
        """
        table: dict[Choice, float] = {}
        refusal: OutOfMemory | None = None
        for choice in self._choices():
            try:
                with out_of_memory_errors():
                    table[choice] = self._time_call(choice)
            except OutOfMemory as error:
                self._report(f"no memory for {_describe(choice)}, which is left out: {error}")
                refusal = error
                continue
            if table[choice] > self._objective.deadline_s:
                break
        if not table and refusal:
            raise OutOfMemory(f"{refusal}: {REMEDY}")
        return table

    def _choices(self) -> Iterator[Choice]:
        video, both = self._config.video, self._config.use_denoising_batch
        longest = video.max_chunk_latents or video.chunk_latents
        for steps in range(1, self._config.num_steps + 1):
            for chunk in range(video.chunk_latents, longest + 1):
                if self._fits(chunk):
                    yield Choice(chunk, steps, both)
                    if both and steps > 1:
                        yield Choice(chunk, steps, False)

    def _fits(self, chunk: int) -> bool:
        try:
            _, second = plan_chunk(self._shape, Cursor(), 1 + chunk)
            plan_chunk(self._shape, second, chunk)
        except ConfigError:
            return False
        return True

    @torch.inference_mode()
    def _time_call(self, choice: Choice) -> float:
        """Return what all but one of a few calls keep to, over a full cache.

        In the end all in flight is finished, so that every number of rows has run once.
        """
        release_cached_memory(self._models.device)
        self._reset(self._config.live)
        self._switch_to(choice)
        black = Frame(np.zeros((self._config.height, self._config.width, 3), np.uint8), 0, 0.0)
        untimed = choice.calls * self._objective.pipeline_depth + ceil(
            self._shape.slots / choice.chunk
        )
        taken = []
        for call in range(untimed + TIMED_CALLS):
            began = time.perf_counter()
            self._run_frames([black] * (choice.frames + (call == 0)))
            taken.append(time.perf_counter() - began)
        self._flush()
        return sorted(taken[untimed:])[-2]


def _describe(choice: Choice) -> str:
    steps = f"{choice.steps} step{'s' if choice.steps > 1 else ''}"
    how = "" if choice.steps == 1 else ", batched" if choice.batched else ", one by one"
    return f"{steps}{how}, {choice.frames} frames"
