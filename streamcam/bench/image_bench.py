"""Benchmark of the image stream: what each technique costs or gains, on the same weights."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from streamcam.bench.cases import Case, Row, measured, stream_case
from streamcam.bench.harness import (
    STILL_FRAMES,
    STILL_NOISE,
    bare_calls,
    changed,
    condition_for,
    mean_frame_difference,
    no_report,
    with_shared_weights,
)
from streamcam.bench.random_loras import lora_bytes, with_random_loras
from streamcam.diffusion.image_model import MEMORY_LINE, ImageModel, from_pipeline
from streamcam.diffusion.regions import PERSON
from streamcam.diffusion.schedule import ORIGINAL_STEPS
from streamcam.diffusion.stages import Text
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.placement import place
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.controlnet import load_controls
from streamcam.settings.config import Config
from streamcam.settings.parameters import indices_of
from streamcam.types import Frame, Image

LORA_RANK = 16
"""A usual one."""


class ImageBenchmark:
    """The comparisons of ``streamcam bench pipeline``, for one model."""

    def __init__(self, config: Config, scene: Sequence[Image], *, rounds: int) -> None:
        with_images, config = config, _without_image_prompts(config)
        self._controlled_config = config
        self._config = config = _without_controlnets(config)
        self._scene = scene
        self._rounds = rounds
        placement = place(config)
        pipe = load_pipeline(config, placement.weights_dtype, no_report, placement.device)
        # The same weights twice: with the prompt's keys and values cached, and without.
        uncached_pipe, images_pipe = with_shared_weights(pipe), with_shared_weights(pipe)
        device, uncached = placement.device, changed(config, cache_prompt_kv=False)
        self._plain_pipe = with_shared_weights(pipe)
        controlled = self._controlled_config
        controls = load_controls(controlled, pipe.unet, placement.weights_dtype, no_report)
        # People are found only where that is measured; without a camera image there are none.
        if config.mode != "txt2img":
            controlled = changed(controlled, region_mask=PERSON)
        everything = from_pipeline(
            pipe, controlled, device, no_report, controls=controls, builds_here=True
        )
        self._models = everything._replace(controls=(), region_mask=None)
        self._controlled = everything._replace(region_mask=None)
        self._with_regions = everything._replace(controls=())
        self._uncached = from_pipeline(uncached_pipe, uncached, device, no_report, builds_here=True)
        self._with_images: tuple[ImageModel, Config] | None = None
        if with_images.ip_adapter:
            model = from_pipeline(images_pipe, with_images, device, no_report, builds_here=True)
            self._with_images = (model, with_images)

    def rows(self) -> Iterator[Row]:
        """Yield every line, table by table."""
        yield from self.overhead()
        yield from self.steps()
        yield from self.guidance()
        yield from self.residual()
        yield from self.similarity_filter()
        yield from self.temporal_stability()
        yield from self.prompt_cache()
        yield from self.prompt_chunks()
        if self._with_regions.region_mask is not None:
            yield from self.regions()
        yield from self.steadiness()
        yield from self.loras()
        yield from self.controlnets()
        yield from self.image_prompts()

    def overhead(self) -> Iterator[Row]:
        """Compare the whole stream with nothing but its model calls."""
        bare = Case("bare model calls", bare_calls(self._config, self._models, self._scene))
        stream = self._case("the stream", self._config)
        yield from self._measured("overhead", [bare, stream])

    def steps(self) -> Iterator[Row]:
        """Compare sequential steps with Stream Batch."""
        for n in (1, 2, 3, 4):
            settings = at_steps(self._config, n, "none")
            one_by_one = changed(settings, use_denoising_batch=False)
            cases = [
                self._case(f"{n} steps, sequential", one_by_one),
                self._case(f"{n} steps, Stream Batch", settings),
            ]
            yield from self._measured("Stream Batch", cases)

    def guidance(self) -> Iterator[Row]:
        """Compare full CFG with residual CFG and with none."""
        for n in range(1, 6):
            modes = ("full", "initialize", "self", "none")
            cases = [
                self._case(f"{n} steps, {mode}", at_steps(self._config, n, mode)) for mode in modes
            ]
            yield from self._measured("guidance", cases)

    def residual(self) -> Iterator[Row]:
        """Compare residual guidance with no guidance at all."""
        for n in range(1, 6):
            cases = [
                self._case(f"{n} steps, {mode}", at_steps(self._config, n, mode))
                for mode in ("none", "self")
            ]
            yield from self._measured("residual guidance", cases)

    def similarity_filter(self) -> Iterator[Row]:
        """Compare the filter on and off, on a moving scene and on a still one."""
        for scene, frames in (("moving", self._scene), ("still", self._scene[:1])):
            cases = []
            for state in (False, True):
                live = self._config.live.changed({"enable_similar_image_filter": state})
                name = f"{scene} scene, filter {'on' if state else 'off'}"
                cases.append(self._case(name, changed(self._config, live=live), scene=frames))
            # Whole periods of the filter: ten frames skipped, one processed.
            yield from self._measured("similarity filter", cases, frames=22)

    def temporal_stability(self) -> Iterator[Row]:
        """Measure how much a still, noisy scene moves in the output, relative to the input."""
        draws = np.random.default_rng(0)
        noise = draws.normal(0, STILL_NOISE, (STILL_FRAMES, *self._scene[0].shape))
        noisy = [np.clip(self._scene[0] + n, 0, 255).astype(np.uint8) for n in noise]
        stream = DiffusionStream(self._models, self._config)
        frames = [Frame(image, i, i / 30) for i, image in enumerate(noisy)]
        started_at = time.perf_counter()
        outputs = [output for frame in frames for output in stream(frame, self._config.live)]
        outputs += stream.drain(self._config.live)
        ms = (time.perf_counter() - started_at) / len(frames) * 1e3
        moved = mean_frame_difference([output.image for output in outputs]) / mean_frame_difference(
            noisy
        )
        yield Row(
            "temporal stability",
            "still scene, noisy",
            ms,
            1.0,
            0.0,
            f"moves {moved:.2f} times as much",
        )

    def prompt_cache(self) -> Iterator[Row]:
        """Compare computing the prompt's keys and values for every frame and once per prompt."""
        for n in (1, 4):
            settings = at_steps(self._config, n, "self")
            cases = [
                self._case(f"{n} steps, K/V cache off", settings, models=self._uncached),
                self._case(f"{n} steps, K/V cache on", settings),
            ]
            for case, models in zip(cases, (self._uncached, self._models), strict=True):
                flops = _flops(models, settings)
                case.note = lambda flops=flops: f"{flops / 1e9:.2f} GFLOP in the U-Net"  # type: ignore[misc]
            yield from self._measured("prompt cache", cases)

    def prompt_chunks(self) -> Iterator[Row]:
        """Compare prompts of one chunk of tokens with longer ones."""
        for n in (1, 4):
            settings = at_steps(self._config, n, "self")
            cases = [
                self._case(f"{n} steps, {count} chunks", settings, models=self._of_chunks(count))
                for count in (1, 3)
            ]
            yield from self._measured("prompt chunks", cases)

    def _of_chunks(self, count: int) -> ImageModel:
        def encode_text(text: str) -> Text:
            encoded = self._models.encode_text(text)
            return encoded._replace(prompt_embeds=encoded.prompt_embeds.repeat(1, count, 1))

        return self._models._replace(encode_text=encode_text)

    def regions(self) -> Iterator[Row]:
        """Compare one strength with one of the person and one of the background."""
        for n in (1, 4):
            settings = at_steps(self._config, n, "self")
            own = settings.live.changed({"strength_person": 0.1})
            cases = [
                self._case(f"{n} steps, one strength", settings),
                self._case(
                    f"{n} steps, strength by region",
                    changed(settings, live=own, region_mask=PERSON),
                    models=self._with_regions,
                ),
            ]
            yield from self._measured("regions", cases)

    def steadiness(self) -> Iterator[Row]:
        """Compare the stream as it is with those that remember past frames."""
        if self._config.cross_frame_attention:
            return  # It and the memory exclude each other.
        # A model may blend its outputs by itself.
        off = changed(self._config, live=self._config.live.changed({"output_blend": 0.0}))
        cases = [self._case("nothing remembered", off)]
        for memory in ("attention", "features"):
            config, lines = changed(off, temporal_memory=memory), list[str]()
            pipe = with_shared_weights(self._plain_pipe)
            models = from_pipeline(
                pipe, config, self._models.device, lines.append, builds_here=True
            )
            case = self._case(f"temporal_memory={memory}", config, models=models)
            note = next((line for line in lines if line.startswith(MEMORY_LINE)), "")
            case.note = note.removeprefix(MEMORY_LINE).__str__
            cases.append(case)
        live = self._config.live.changed({"output_blend": 0.8})
        cases.append(self._case("output_blend=0.8", changed(self._config, live=live)))
        yield from self._measured("steadiness", cases)

    def loras(self) -> Iterator[Row]:
        """Compare the stream without LoRAs, and with some whose scales are live."""
        if self._config.lora:
            return  # There is nothing without LoRAs to compare with.
        cases = [self._case("no LoRA", self._config)]
        for count in (1, 3):
            config = changed(self._config, lora={f"lora{i}": 1.0 for i in range(count)})
            pipe = with_random_loras(self._plain_pipe, count=count, rank=LORA_RANK)
            size = lora_bytes(pipe.unet)
            models = from_pipeline(pipe, config, self._models.device, no_report, builds_here=True)
            case = self._case(f"{count} live, rank {LORA_RANK}", config, models=models)
            case.note = lambda size=size: f"{size / 1e6:.1f} MB"  # type: ignore[misc]
            cases.append(case)
        yield from self._measured("live LoRAs", cases)

    def controlnets(self) -> Iterator[Row]:
        """Compare the stream without ControlNets, with all at 0, and with all on."""
        config = self._controlled_config
        names = [name for name, _ in config.live.controlnet_scale]
        cases = [self._case("no ControlNet", self._config)] if names else []
        for name, scale in (("all at 0", 0.0), ("all at 1", 1.0)) if names else ():
            live = config.live.changed({"controlnet_scale": dict.fromkeys(names, scale)})
            cases.append(self._case(name, changed(config, live=live), models=self._controlled))
        yield from self._measured("ControlNet", cases)

    def image_prompts(self) -> Iterator[Row]:
        """Compare the stream without an IP-Adapter and with the image prompts of the settings."""
        if self._with_images is None:
            return
        models, config = self._with_images
        count = len(config.image_prompt)
        cases = [
            self._case("no IP-Adapter", self._config),
            self._case(f"{count} image prompts", config, models=models),
        ]
        yield from self._measured("image prompts", cases)

    def _measured(self, table: str, cases: list[Case], *, frames: int = 1) -> Iterator[Row]:
        yield from measured(
            table, cases, self._rounds, frames=frames, warm_up=self._config.num_steps + 5
        )

    def _case(
        self,
        name: str,
        config: Config,
        *,
        models: ImageModel | None = None,
        scene: Sequence[Image] | None = None,
    ) -> Case:
        return stream_case(name, models or self._models, config, scene or self._scene)


def _without_image_prompts(config: Config) -> Config:
    live = config.live.model_copy(update={"image_prompt_scale": ()})
    return changed(config, ip_adapter=None, image_encoder=None, image_prompt={}, live=live)


def _without_controlnets(config: Config) -> Config:
    fields = ("controlnet_scale", "controlnet_start", "controlnet_end")
    live = config.live.model_copy(update=dict.fromkeys(fields, ()))
    return changed(config, controlnet={}, control={}, control_type={}, live=live)


def at_steps(config: Config, n: int, cfg_type: str) -> Config:
    """Return `config` with `n` steps over most of the schedule, and this `cfg_type`."""
    count = config.live.num_inference_steps
    timesteps = config.timesteps
    if n > count:  # More than the model knows: they cost the same at any timesteps.
        count, timesteps = max(n, ORIGINAL_STEPS), None
    changes = {"t_index_list": indices_of(0.8, n, count), "num_inference_steps": count}
    live = config.live.changed(changes)
    return changed(config, live=live, steps=n, cfg_type=cfg_type, timesteps=timesteps)


@torch.inference_mode()
def _flops(models: ImageModel, config: Config) -> int:
    rows = config.num_steps * config.frame_buffer_size
    condition = condition_for(models, rows)
    latents = torch.randn(rows, *models.latent_shape, device=models.device)
    timesteps = torch.full((rows,), 399, device=models.device)
    with FlopCounterMode(display=False) as counter:
        # Operations inside an engine are not counted: the eager stage is.
        getattr(models.denoise, "stage", models.denoise)(latents, timesteps, condition)
    return int(counter.get_total_flops())
