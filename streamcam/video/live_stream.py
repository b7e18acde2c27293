"""Video stream on air: the scheduler chooses the frames to run, the chunk length and the steps."""

import time
from collections.abc import Iterator
from math import ceil

import numpy as np
import torch

from streamcam.engines.device_memory import (
    REMEDY,
    OutOfMemory,
    out_of_memory_errors,
    release_cached_memory,
)
from streamcam.errors import ConfigError
from streamcam.frames.transfer import FrameTransfer
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame
from streamcam.video.delivery_stats import DeliveryStats
from streamcam.video.prompt_change import BackgroundPromptTracker
from streamcam.video.scheduler import Choice, LatencyTable, Objective, Scheduler
from streamcam.video.video_model import VideoModel
from streamcam.video.video_stream import VideoStream

TIMED_CALLS = 5


class LiveVideoStream(VideoStream):
    """`VideoStream` with a target rate and a deadline: it may drop frames, and counts them.

    Frames wait in the scheduler's queue. A call runs at most one chunk, in the way that the
    scheduler chooses from the latencies measured in `warm_up`, or from `table`. `counts` holds the
    number of frames ``dropped``; `delivery_summary` has more.

    Args:
        models: the stages.
        config: fixed settings.
        table: seconds of a call of each choice. Default: measured by `warm_up`.
        report: takes a line of progress at a time.
        transfer: takes frames to the models' device and outputs back; by default for `render`.
    """

    _tracker_type = BackgroundPromptTracker

    def __init__(
        self,
        models: VideoModel,
        config: Config,
        table: LatencyTable | None = None,
        report: Report = lambda _: None,
        transfer: FrameTransfer | None = None,
    ) -> None:
        super().__init__(models, config, transfer)
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
        """Measure the seconds of a call of every choice, and discard the frames.

        Raises:
            OutOfMemory: no choice fits in the device's memory.
        """
        if self._table is None:
            self._table = self._measure()
            self._scheduler = self._new_scheduler(self._table)
        self.counts.clear()
        self._reset(self._config.live)

    @property
    def delivery_summary(self) -> str:
        """Choice in use and delivery statistics, in one line."""
        return (
            "" if self._scheduler is None else f"{_describe(self._choice)}: {self._scheduler.stats}"
        )

    @property
    def delivery_stats(self) -> DeliveryStats:
        """Delivery statistics in figures."""
        assert self._scheduler is not None, "call warm_up first"
        return self._scheduler.stats

    def put(self, frame: Frame) -> None:
        """Add a frame to the queue, without running the model."""
        assert self._scheduler is not None, "call warm_up first"
        self._scheduler.put(frame, frame.captured_at)

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame, run a chunk if one is due, and return the output frames that are done.

        Args:
            frame: of any size; its time is from the monotonic clock.
            parameters: the newest ones; they apply to the chunk that runs now.

        Raises:
            PromptError: a text cannot be encoded; nothing has changed.
        """
        self._prompt_tracker.check(parameters)
        self.put(frame)
        assert self._scheduler is not None
        released = self._update_parameters(parameters)
        first = self._previous is None
        extra = self._config.video.first_extra if first else 0
        job = self._scheduler.take(time.monotonic(), extra=extra)
        self.counts["dropped"] = self._scheduler.stats.dropped
        if job is None:
            return self._record_delivery(released)
        released += self._switch_to(job.choice)
        started = time.perf_counter()
        outputs = self._run_frames(job.frames)
        # While the batch fills, fewer rows run than in the calls that the table was measured on.
        if outputs and not first:
            self._scheduler.record_call(job.choice, time.perf_counter() - started)
        return self._record_delivery(released + outputs)

    def _run_frames(self, frames: list[Frame]) -> list[Frame]:
        """Run a chunk of these frames, and wait for the device."""
        for frame in frames:
            self._add_frame(frame)
        outputs = self._run_chunk()
        self._transfer.synchronize()
        return outputs

    def _record_delivery(self, frames: list[Frame]) -> list[Frame]:
        assert self._scheduler is not None
        self._scheduler.record_delivery((frame.captured_at for frame in frames), time.monotonic())
        return frames

    def _switch_to(self, choice: Choice) -> list[Frame]:
        """Switch to another choice; return the frames that were in flight."""
        previous, self._choice = self._choice, choice
        if choice[1:] == previous[1:]:
            return []  # A batch takes chunks of any length.
        return self._change_steps(choice.steps, batched=choice.batched)

    def _new_scheduler(self, table: LatencyTable) -> Scheduler[Frame]:
        return Scheduler(table, self._objective)

    def _measure(self) -> LatencyTable:
        """Measure the seconds of a call of every choice, the least work first.

        Once calls take longer than the deadline, choices with more work are not tried.
        """
        table: dict[Choice, float] = {}
        out_of_memory: OutOfMemory | None = None
        for choice in self._choices():
            try:
                with out_of_memory_errors():
                    table[choice] = self._time_call(choice)
            except OutOfMemory as error:
                self._report(f"no memory for {_describe(choice)}, which is left out: {error}")
                out_of_memory = error
                continue
            if table[choice] > self._objective.deadline_s:
                break
        if not table and out_of_memory:
            raise OutOfMemory(f"{out_of_memory}: {REMEDY}")
        return table

    def _choices(self) -> Iterator[Choice]:
        video, batched = self._config.video, self._config.use_denoising_batch
        longest = video.max_chunk_latents or video.chunk_latents
        for steps in range(1, self._config.num_steps + 1):
            for chunk in range(video.chunk_latents, longest + 1):
                if self._fits(chunk):
                    yield Choice(chunk, steps, batched)
                    if batched and steps > 1:
                        yield Choice(chunk, steps, False)

    def _fits(self, chunk: int) -> bool:
        try:
            self._check_fit(chunk)
        except ConfigError:
            return False
        return True

    @torch.inference_mode()
    def _time_call(self, choice: Choice) -> float:
        """Measure the second slowest of a few calls over a full cache, in seconds.

        At the end all chunks in flight are finished, so that every number of rows has run once.
        """
        release_cached_memory(self._models.device)
        self._reset(self._config.live)
        self._switch_to(choice)
        black = Frame(np.zeros((self._config.height, self._config.width, 3), np.uint8), 0, 0.0)
        untimed = choice.calls * self._objective.pipeline_depth + ceil(
            self._shape.slots / choice.chunk
        )
        seconds = []
        for call in range(untimed + TIMED_CALLS):
            started = time.perf_counter()
            extra = self._config.video.first_extra if call == 0 else 0
            self._run_frames([black] * (choice.frames + extra))
            seconds.append(time.perf_counter() - started)
        self._flush()
        return sorted(seconds[untimed:])[-2]


def _describe(choice: Choice) -> str:
    steps = f"{choice.steps} step{'s' if choice.steps > 1 else ''}"
    mode = "" if choice.steps == 1 else ", batched" if choice.batched else ", sequential"
    return f"{steps}{mode}, {choice.frames} frames"
