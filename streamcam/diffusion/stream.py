"""StreamDiffusion as a Stream: frames in, the model's outputs out, in order."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.output_blend import OutputBlend
from streamcam.diffusion.output_memory import OutputMemory
from streamcam.diffusion.pending_frames import PendingFrames
from streamcam.diffusion.sampler import Sampler
from streamcam.diffusion.scene_change import ChangesInFlight, SceneChange, SceneWatch
from streamcam.diffusion.second_source import OpenSecond, open_for_render
from streamcam.diffusion.similarity import METRICS, SimilarityFilter
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.engines.graphed_calls import WARM_UP_CALLS
from streamcam.frames import frame_transfer
from streamcam.frames.copy_streams import CALLS_AT_ONCE
from streamcam.frames.transfer import FrameTransfer, OutputBuffer, UploadedFrames
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

WAITS = "the new prompt is used in some seconds, once what encodes it is loaded"


class _SampledCall(NamedTuple):
    """A call whose steps another thread runs, and whose outputs are decoded afterwards."""

    x_0: "Future[Tensor]"
    parameters: Parameters
    due: Sequence[SceneChange]
    """The scene changes of the frames that its outputs show."""


class DiffusionStream:
    """StreamDiffusion: `n` steps of different frames in one call, `f` frames at a time.

    Every frame that goes in comes out once, in order, as its own output: n - 1 calls later, or
    with the output of the frame that it was similar to. `counts` has the numbers of frames
    ``processed`` and ``skipped``, and of ``calls``.

    Args:
        models: the stages to run.
        config: the settings that are fixed at start, and the first live ones.
        transfer: takes frames to the models' device and outputs back; by default for `render`.
        ahead: return the outputs of a call with the next one, if the device works in parallel
            to the CPU: the device then never waits for the CPU, and outputs come a call later.
        open_second: opens second sources for ControlNets; by default for `render`.
        in_background: encode the camera's image as an image prompt while frames flow; else the
            frame that it was taken from waits for it.
        overlaps: after the warm-up, decode the outputs of a call while another thread encodes and
            denoises the next one: as a pipeline of two stages, for a CPU with several cores. Call
            `wait` before the newest frame is picked, and `finish` where there is none.
    """

    def __init__(
        self,
        models: ImageModel,
        config: Config,
        transfer: FrameTransfer | None = None,
        *,
        ahead: bool = False,
        open_second: OpenSecond = open_for_render,
        in_background: bool = False,
        overlaps: bool = False,
    ) -> None:
        self.config = config
        self._overlaps = overlaps
        self._thread: ThreadPoolExecutor | None = None
        self._sampled: _SampledCall | None = None
        self._in_background = in_background
        self.chunk = config.frame_buffer_size
        self.counts: Counter[str] = Counter()
        self.transfer = transfer or frame_transfer(config, models.device)
        self._graphs = models.graphs()
        self.sampler = Sampler(
            models,
            config,
            self.transfer.copy_to_device,
            fixed=self._graphs.captures,
            open_second=open_second,
        )
        self._models = models
        self._ahead = ahead and self.transfer.on_device
        self._from_noise = config.mode == "txt2img"
        fuses = config.temporal_memory == "features"
        self._remembers = fuses or models.memory_values > 0
        control = self.sampler.control
        self._uploads = not self._from_noise or (control is not None and control.needs_batch)
        metric = METRICS[config.similar_image_filter_metric]
        self._filter = SimilarityFilter(metric, config.num_steps * self.chunk, config.live.seed)
        self._pending = PendingFrames()
        self._scene = SceneWatch(config.width, config.height, config.fit)
        self._changes: list[SceneChange] = []
        delay = config.num_steps - 1 if config.use_denoising_batch else 0
        self._changes_in_flight = ChangesInFlight(delay)
        size, keep = (config.height, config.width), FixedMemory(fixed=self._graphs.captures)
        copy = self.transfer.copy_to_device
        self._blend = OutputBlend(self.chunk, size, self._scene.still, models.device, keep, copy)
        self._memory = OutputMemory(self.chunk, size, models.device, keep, copy) if fuses else None
        self._waits = False

    @property
    def notice(self) -> str:
        return WAITS if self._waits else self.sampler.notice

    @property
    def accepts_any_size(self) -> bool:
        """Whether frames of any size are fitted on the device."""
        return self.transfer.on_device

    @property
    def is_settled(self) -> bool:
        return not self._waits and self._models.is_settled()

    def control_image(self) -> Image | None:
        """Return the newest images that ControlNets are shown, side by side; None without any."""
        self.wait()
        return self.sampler.control.image() if self.sampler.control else None

    def _reset(self, parameters: Parameters) -> None:
        """Assign all state: nothing is in flight."""
        self.transfer.clear()
        self.sampler.reset(parameters)
        self._filter.reset(parameters.seed)
        self._pending.reset()
        self._scene.reset()
        self._changes = []
        self._changes_in_flight.reset()
        self._blend.reset()
        if self._memory:
            self._memory.reset()

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Make the calls that ``warmup`` asks for, and forget them.

        The first call of a compiled model is slow, and should not hold up a frame. Calls that are
        recorded are recorded here, on frames as large as the canvas, as those of a camera mostly
        are.
        """
        size = (self.config.width, self.config.height)
        width, height = self.config.broadcast.canvas if self.accepts_any_size else size
        black = Frame(np.zeros((height, width, 3), np.uint8), 0, 0.0)
        unfiltered = self.config.live.changed(
            {"enable_similar_image_filter": False, "image_prompt_grab": 0}
        )
        if self.sampler.control:
            unfiltered = self.sampler.control.warm_up_parameters(unfiltered)
        # With fewer than n calls nothing would be decoded.
        calls = max(self.config.warmup, self.config.num_steps) if self.config.warmup else 0
        if calls and self._graphs.captures:
            calls = max(calls, self.config.num_steps + WARM_UP_CALLS + CALLS_AT_ONCE)
        for _ in range(calls * self.chunk):
            self(black, unfiltered)
        self._pending.finish_download()
        self.counts.clear()
        self._reset(self.config.live)
        if self._overlaps and self._thread is None:
            # PyTorch keeps the number of threads for each thread that calls it.
            threads = (torch.get_num_threads(),)
            self._thread = ThreadPoolExecutor(1, "sampling", torch.set_num_threads, threads)
        if calls:
            self._models.on_warm()

    @torch.inference_mode()
    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        """Take one frame in; return the frames whose outputs are ready.

        Args:
            frame: any size; it is fitted to the stream's.
            parameters: the snapshot to run with; latents in flight follow it too.
        """
        self.wait()
        outputs = self._update(parameters)
        if (prompts := self.sampler.image_prompts) and prompts.grab(
            frame.image, self.sampler.parameters, wait=not self._in_background
        ):
            self._filter.parameters_changed()
        image = self.transfer.prepare(frame.image)
        vector = self.transfer.similarity_vector(image) if self._filters else None
        if self._filter.should_skip(vector, parameters):
            self.counts["skipped"] += 1
            outputs += self.finish()
            return outputs + self._pending.add_skipped(frame)
        self.counts["processed"] += 1
        self._pending.add(frame, vector)
        if self._watches:
            moves = self.sampler.parameters.moves_with_scene
            self._changes.append(self._scene(image, moves=moves))
        else:
            self._scene.reset()
        if self._uploads:
            self.transfer.upload(image)
        if self.sampler.control:
            self.sampler.control.add(image)
        if self._pending.gathered < self.chunk:
            return outputs
        return outputs + self._run(new_frames=True)

    @torch.inference_mode()
    def drain(self, parameters: Parameters) -> list[Frame]:
        """Return the frames still in flight, as if the last frame were repeated; then reset."""
        outputs: list[Frame] = self.finish()
        if self._pending.gathered:
            outputs += self._run(new_frames=True)
            outputs += self.finish()
        while self._pending:
            outputs += self._run(new_frames=False)
        outputs += self._pending.finish_download()
        self._reset(parameters)
        return outputs

    def wait(self) -> None:
        """Wait until the next frame can be taken in at once."""
        if self._sampled:
            self._sampled.x_0.result()

    @torch.inference_mode()
    def finish(self) -> list[Frame]:
        """Return the frames whose outputs are not decoded yet, once they are."""
        call, self._sampled = self._sampled, None
        return self._decoded(call) if call else []

    @property
    def _watches(self) -> bool:
        """Whether anything depends on how the scene changes."""
        moves = self.sampler.parameters.moves_with_scene
        return (self._remembers or moves) and not self._from_noise

    @property
    def _filters(self) -> bool:
        # Images made from noise alone do not depend on the frames, similar or not; those that are
        # controlled by a second source depend on more than them.
        control = self.sampler.control
        follows = control.follows_camera if control else not self._from_noise
        return self.sampler.parameters.enable_similar_image_filter and follows

    def _update(self, parameters: Parameters) -> list[Frame]:
        """Run with `parameters` from now on, or from when their prompts are encoded.

        Raises:
            ParameterError: they are refused, and nothing has changed.

        Returns:
            The frames that were in flight before a reset; none otherwise.
        """
        before = self.sampler.parameters
        if parameters is before:
            self._waits = False
            return []
        self.config.check(parameters)
        self._waits = not self._models.is_ready_for(parameters)
        if self._waits:
            return []  # Asked again with the next frame: none waits for a text encoder to load.
        self.sampler.prepare(parameters)
        if parameters.reset != before.reset:
            in_flight: list[Frame] = self.drain(parameters)
            return in_flight
        self.sampler.update(parameters)
        if parameters != before:
            self._filter.parameters_changed()
        return []

    def _run(self, *, new_frames: bool) -> list[Frame]:
        """Make one call of the models; without `new_frames` the last ones are repeated.

        Returns:
            The frames whose outputs are ready: of this call, or `ahead` of the one before.
        """
        self.counts["calls"] += 1
        self._pending.gathered = 0
        changes, self._changes = self._changes, []
        output_is_due = self.sampler.begin(new_frames=new_frames, changes=changes)
        due = self._changes_in_flight(changes)
        uploaded = None
        if new_frames and self._uploads:
            uploaded = self.transfer.uploaded(self.chunk)
        if not output_is_due:
            self._work(uploaded, None)
            self.transfer.synchronize()
            return []
        if self._thread and new_frames:
            before = self._sampled
            self._sampled = _SampledCall(
                self._thread.submit(self._sample, uploaded), self.sampler.parameters, due
            )
            return self._decoded(before) if before else []
        self._begin_outputs(self.sampler.parameters, due)
        output = self.transfer.output_buffer(self.chunk)
        self._launch(uploaded, output, new_frames=new_frames)
        return self._downloaded(output)

    def _decoded(self, call: _SampledCall) -> list[Frame]:
        """Return the frames whose outputs a call has made, decoded in this thread."""
        x_0 = call.x_0.result()
        self._begin_outputs(call.parameters, call.due)
        output = self.transfer.output_buffer(self.chunk)
        self._decode(x_0, output)
        return self._downloaded(output)

    def _begin_outputs(self, parameters: Parameters, due: Sequence[SceneChange]) -> None:
        """Prepare what is made of decoded outputs that show frames with the changes `due`."""
        self._blend.begin(parameters.output_blend, due)
        if self._memory:
            self._memory.begin(parameters, due)

    def _downloaded(self, output: OutputBuffer) -> list[Frame]:
        """Download the outputs of a call; return the frames whose outputs are here."""
        downloaded, wait = output.download()
        before = self._pending.finish_download()
        self._pending.start_download(downloaded, wait)
        self._filter.shown(self._pending.last_shown)
        return before if self._ahead else self._pending.finish_download()

    def _launch(
        self, uploaded: UploadedFrames | None, output: OutputBuffer, *, new_frames: bool
    ) -> None:
        """Run a call, replayed as a graph if it is the one that is the same every time."""
        work = partial(self._work, uploaded, output)
        memory = uploaded.memory if uploaded else self.transfer
        if not (new_frames and memory and self.sampler.steady):
            work()
            return
        slot = (uploaded.slot if uploaded else None, output.slot)
        kind = (self.sampler.structure, self._blend.is_on)
        self._graphs(slot, (memory, self._models.revision()), work, kind)

    def _work(self, uploaded: UploadedFrames | None, output: OutputBuffer | None) -> None:
        """Do all work of a call on the device: from the frames uploaded to the bytes to download.

        Nothing here depends on values of the device, nor changes anything on the CPU, so that a
        graph can do the same. Without frames the last ones are repeated.
        """
        x_0 = self._sample(uploaded)
        if output is not None:
            self._decode(x_0, output)

    @torch.inference_mode()
    def _sample(self, uploaded: UploadedFrames | None) -> Tensor:
        """Encode the frames uploaded, and run the steps of a call; return its x_0."""
        latents = None
        batch = uploaded.batch() if uploaded is not None else None
        if self.sampler.control:
            self.sampler.control.advance(batch)
        if batch is not None and not self._from_noise:
            latents = self._models.encode(batch, self.sampler.encoder_noise)
            self.sampler.look(batch)
        return self.sampler.step(latents)

    def _decode(self, x_0: Tensor, output: OutputBuffer) -> None:
        """Write the outputs that show `x_0` to `output`."""
        images = self._models.decode(x_0)
        if self._memory:
            images = self._memory(images)
        output.write(self._blend(images))
