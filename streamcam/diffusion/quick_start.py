"""Start on engines before the model is loaded.

Nearly all of a start's time goes into libraries and weights that a stream whose engines are in the
store does not run. It starts from what the last start has recorded; the model itself is loaded
once frames flow, for other prompts and other kinds of calls. Engines' files are checked as ever.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stages import Text, dropped_notice
from streamcam.diffusion.start_record import (
    StageEngines,
    StartRecord,
    plain_signature,
    read_record,
    signature_of,
)
from streamcam.engines.builder import AcceleratedStage
from streamcam.engines.cache_key import hash_key
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatForward, Signature, flatten_args
from streamcam.engines.placement import Placement, place
from streamcam.engines.store import Entry, Store
from streamcam.errors import one_line
from streamcam.models.families import Report
from streamcam.models.weight_files import weights_source
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.file_identity import joint_identity

log = logging.getLogger(__name__)

STAGES = ("encode", "denoise", "decode")
LOAD_AFTER_S = 1.0
"""From the end of the warm-up: the first frames are to be on air before another thread works."""
UNRELATED = ("live", "broadcast", "video", "warmup", "threads", "engine_wait", "engine_dir")
"""Settings that decide on nothing that a record holds."""


def load_live_image_model(config: Config, report: Report) -> ImageModel:
    """Return the model of `config`: on its engines at once if it can, else as `load_image_model`.

    Raises:
        StreamcamError: as `load_image_model` does.
    """
    placement = place(config)
    if placement.device.type != "cpu" or not placement.choice.engines:
        return load_image_model(config, report)
    memory = _StartMemory(config, placement)
    if config.threads:
        torch.set_num_threads(config.threads)
    if quick := memory.model(report):
        return quick
    return memory.recording(load_image_model(config, report))


class _StartMemory:
    """The record of earlier starts with these settings, and what this one adds to it."""

    def __init__(self, config: Config, placement: Placement) -> None:
        self._config = config
        self._placement = placement
        self._store = Store(config.engine_dir)
        settings, self._files = weights_source(config, placement.weights_dtype)
        self._code = joint_identity(Path(__file__).parents[1].rglob("*.py"))
        self._file = self._store.folder / f"{self._key(settings)}.start"
        self._record: StartRecord | None = None
        self._lock = threading.Lock()

    def _key(self, settings: str) -> str:
        chosen = self._placement.choice.engines
        return hash_key(
            {
                "weights": settings,
                "settings": self._config.model_dump(mode="json", exclude=set(UNRELATED)),
                "steps": self._config.num_steps,
                "engines": [
                    [engine.name, str(engine.dtype), dict(engine.fingerprint())]
                    for engine in chosen
                ],
                "device": str(self._placement.device),
            }
        )

    @property
    def _identity(self) -> str | None:
        return f"{self._files} {self._code}" if self._files and self._code else None

    def model(self, report: Report) -> ImageModel | None:
        """Return the stages on their engines, None unless all that the start needs is there."""
        record = read_record(self._file, self._placement.device)
        if record is None or record.identity != self._identity:
            return None
        config = self._config
        if not self._needs_nothing_else(record, config.live):
            return None
        loaded = self._engines(record)
        if loaded is None:
            return None
        runs, lines = loaded
        self._record = record
        report(f"model {config.model}, on the engines of the last start")
        report(str(self._placement))
        for line in lines:
            report(line)
        return self._quick_model(record, runs, report)

    def _needs_nothing_else(self, record: StartRecord, parameters: Parameters) -> bool:
        """Return whether the record has all the texts, and no blend is to be made of them."""
        config = self._config
        negative = GUIDANCE[config.cfg_type].negative_rows(config.num_steps) > 0
        prompts = [parameters.prompt, *([parameters.negative_prompt] if negative else [])]
        texts = [[text for text, weight in prompt if weight] for prompt in prompts]
        return all(len(each) == 1 and each[0] in record.texts for each in texts)

    def _engines(
        self, record: StartRecord
    ) -> tuple[dict[str, dict[Signature, FlatForward]], list[str]] | None:
        """Return what runs each stage, and a line on each; None where one is not to be had."""
        runs: dict[str, dict[Signature, FlatForward]] = {stage: {} for stage in STAGES}
        lines = []
        try:
            for wanted in record.engines:
                engine, entry = self._first_usable(wanted)
                run = engine.load(entry.folder) if engine and entry else None
                if engine is None or entry is None or run is None:
                    return None
                runs[wanted.stage][signature_of(wanted.signature)] = run
                lines.append(
                    f"the {engine.name} engine of {wanted.stage} runs,"
                    f" {entry.manifest['psnr']:.0f} dB against float32"
                )
        except Exception as error:  # Whatever it is, a whole start says so or does without.
            log.debug("no quick start: %s", one_line(error))
            return None
        return (runs, lines) if all(runs.values()) else None

    def _first_usable(self, wanted: StageEngines) -> tuple[Engine, Entry] | tuple[None, None]:
        """Return the first engine that is not refused; none where one before it is missing."""
        engines = self._placement.choice.engines
        for number, key in wanted.tried:
            entry = self._store.find(key) if number < len(engines) else None
            if entry is None:
                break
            if "psnr" in entry.manifest and "refused" not in entry.manifest:
                return engines[number], entry
        return None, None

    def _quick_model(
        self, record: StartRecord, runs: dict[str, dict[Signature, FlatForward]], report: Report
    ) -> ImageModel:
        whole = _LoadedLater(self._load_whole, report)
        encode, denoise, decode = (_EngineStage(runs[name], name, whole) for name in STAGES)
        return ImageModel(
            encode_text=partial(self._encode_text, record, whole, report),
            encode=encode,
            denoise=denoise,
            decode=decode,
            add_prompt_kv=partial(self._add_prompt_kv, record, whole),
            alphas_cumprod=record.alphas_cumprod,
            latent_shape=record.latent_shape,
            encode_uses_noise=record.encode_uses_noise,
            time_ids=record.time_ids,
            device=self._placement.device,
            is_ready_for=lambda live: whole.is_there() or self._needs_nothing_else(record, live),
            on_warm=lambda: whole.begin_after(LOAD_AFTER_S),
        )

    def _load_whole(self) -> ImageModel:
        # One thread: the others compute frames.
        config = self._config.model_copy(update={"threads": 1})
        return self.recording(load_image_model(config, log.debug))

    @staticmethod
    def _encode_text(record: StartRecord, whole: "_LoadedLater", report: Report, text: str) -> Text:
        if (encoded := record.texts.get(text)) is None:
            return whole.model().encode_text(text)
        if notice := dropped_notice(text, encoded):
            report(notice)
        return encoded

    @staticmethod
    def _add_prompt_kv(record: StartRecord, whole: "_LoadedLater", embeds: Tensor) -> Tensor:
        for known, states in record.states:
            if known.shape == embeds.shape and torch.equal(known, embeds):
                return states
        return whole.model().add_prompt_kv(embeds)

    # ---- what is left for the next start

    def recording(self, model: ImageModel) -> ImageModel:
        """Return `model`, whose encoded texts go into the record."""
        if self._identity is None or not all(
            isinstance(getattr(model, stage), AcceleratedStage) for stage in STAGES
        ):
            return model
        texts: dict[str, Text] = {}
        states: list[tuple[Tensor, Tensor]] = []
        if self._record is not None:
            texts, states = self._record.texts, self._record.states

        def encode_text(text: str) -> Text:
            texts.pop(text, None)
            texts[text] = model.encode_text(text)
            return texts[text]

        def add_prompt_kv(embeds: Tensor) -> Tensor:
            made = model.add_prompt_kv(embeds)
            # Blends are left out: in a fade there is another one every frame.
            if any(embeds is text.prompt_embeds for text in texts.values()):
                states.append((embeds, made))
                self._write_in_background()
            return made

        def on_warm() -> None:
            self._record = self._new_record(model, texts, states)
            self._write_in_background()

        return model._replace(encode_text=encode_text, add_prompt_kv=add_prompt_kv, on_warm=on_warm)

    def _new_record(
        self, model: ImageModel, texts: dict[str, Text], states: list[tuple[Tensor, Tensor]]
    ) -> StartRecord | None:
        if self._identity is None:
            return None
        engines = [
            StageEngines(stage=stage, signature=plain_signature(signature), tried=tried)
            for stage in STAGES
            for signature, tried in getattr(model, stage).engine_keys().items()
        ]
        return StartRecord(
            self._identity,
            model.latent_shape,
            model.encode_uses_noise,
            model.alphas_cumprod,
            model.time_ids,
            engines,
            texts,
            states,
        )

    def _write_in_background(self) -> None:
        if self._record is not None:
            threading.Thread(target=self._write, name="start record", daemon=True).start()

    def _write(self) -> None:
        with self._lock, suppress(OSError):
            assert self._record is not None
            self._store.folder.mkdir(parents=True, exist_ok=True)
            self._record.write(self._file)


class _EngineStage:
    """A stage on engines alone; calls of another kind wait for the model."""

    def __init__(
        self, runs: dict[Signature, FlatForward], name: str, whole: "_LoadedLater"
    ) -> None:
        self._runs = runs
        self._name = name
        self._whole = whole

    def __call__(self, *args: Any) -> Tensor:
        tensors, signature, _ = flatten_args(args)
        if run := self._runs.get(signature):
            return run(*tensors)
        result: Tensor = getattr(self._whole.model(), self._name)(*args)
        return result


class _LoadedLater:
    """A model that a thread loads, some time after the start or when it is asked for."""

    def __init__(self, load: Callable[[], ImageModel], report: Report) -> None:
        self._load = load
        self._report = report
        self._loaded: Future[ImageModel] = Future()
        self._begun = threading.Lock()
        self._may_begin = threading.Event()

    def begin_after(self, seconds: float) -> None:
        """Load it in a thread, after so many seconds at the latest."""
        if self._begun.acquire(blocking=False):
            threading.Thread(
                target=self._run, args=(seconds,), name="whole model", daemon=True
            ).start()

    def is_there(self) -> bool:
        """Return whether `model` need not wait."""
        return self._loaded.done()

    def model(self) -> ImageModel:
        """Return the model; raise what loading it has raised."""
        self._may_begin.set()
        self.begin_after(0)
        return self._loaded.result()

    def _run(self, seconds: float) -> None:
        self._may_begin.wait(seconds)
        try:
            self._loaded.set_result(self._load())
        except BaseException as error:
            self._loaded.set_exception(error)
            self._report(f"the stream goes on, but knows no new prompts: {one_line(error)}")
