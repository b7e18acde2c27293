"""Start on engines without the model.

Nearly all of a start's time goes into libraries and weights that a stream whose engines are in the
store does not run. It starts from what the last start has recorded; prompts that are new are
encoded by another process, which loads once frames flow. Engines' files are checked as ever.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.diffusion.attention import PromptCache, projected
from streamcam.diffusion.conditioning import texts_of
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.regions import PERSON, RegionMask, picture_mask
from streamcam.diffusion.stages import Text, reading_notice
from streamcam.diffusion.start_record import (
    StageEngines,
    StartRecord,
    plain_signature,
    read_record,
    signature_of,
)
from streamcam.diffusion.text_process import TextProcess
from streamcam.engines.builder import AcceleratedStage
from streamcam.engines.cache_key import hash_key
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatForward, Signature, flatten_args
from streamcam.engines.placement import Placement, place
from streamcam.engines.store import Entry, Store
from streamcam.errors import ModelError, StreamcamError, one_line
from streamcam.models.families import Report
from streamcam.models.person_mask import WEIGHTS as PERSON_WEIGHTS
from streamcam.models.weight_files import weights_source
from streamcam.settings.config import OFF, Config
from streamcam.settings.parameters import Parameters
from streamcam.system.file_identity import joint_identity
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

STAGES = ("encode", "denoise", "decode")
REGION_MASK = "region_mask"
LOAD_AFTER_S = 1.0
"""From the end of the warm-up: the first frames are to be on air before another thread works."""
UNRELATED = (
    *("live", "broadcast", "video", "warmup", "threads"),
    *("engine_wait", "engine_dir", "engine_store"),
)
"""Settings that decide on nothing that a record holds."""


def load_live_image_model(config: Config, report: Report) -> ImageModel:
    """Return the model of `config`: on its engines at once if it can, else as `load_image_model`.

    Raises:
        StreamcamError: as `load_image_model` does.
    """
    placement = place(config)
    # Others need the layers of the model, or are not recorded.
    is_recorded = config.fuses_loras or not config.lora
    is_recorded = is_recorded and not (config.controlnet or config.ip_adapter)
    if placement.device.type != "cpu" or not placement.choice.engines or not is_recorded:
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
        code = [*Path(__file__).parents[1].rglob("*.py"), PERSON_WEIGHTS]
        self._code = joint_identity(code)
        self._file = self._store.folder / f"{self._key(settings)}.start"
        finds_people = config.region_mask == PERSON
        self._stages = (*STAGES, REGION_MASK) if finds_people else STAGES
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
        if any(text not in record.texts for text in self._texts_of(config.live)):
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

    def _texts_of(self, parameters: Parameters) -> list[str]:
        """Return the texts that are used of `parameters`."""
        config = self._config
        negative = GUIDANCE[config.cfg_type].negative_rows(config.num_steps) > 0
        return texts_of(parameters, negative=negative)

    def _engines(
        self, record: StartRecord
    ) -> tuple[dict[str, dict[Signature, FlatForward]], list[str]] | None:
        """Return what runs each stage, and a line on each; None where one is not to be had."""
        runs: dict[str, dict[Signature, FlatForward]] = {name: {} for name in self._stages}
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
        texts = _Texts(record, self._config, self._write, report)
        stages = {name: _EngineStage(runs[name], name, self._load_whole) for name in self._stages}
        return ImageModel(
            encode_text=texts,
            encode=stages["encode"],
            denoise=stages["denoise"],
            decode=stages["decode"],
            region_mask=stages.get(REGION_MASK) or self._picture_mask(record),
            memory_values=record.memory_values,
            add_prompt_kv=lambda embeds: projected(embeds, record.projections),
            alphas_cumprod=record.alphas_cumprod,
            latent_shape=record.latent_shape,
            encode_uses_noise=record.encode_uses_noise,
            time_ids=record.time_ids,
            device=self._placement.device,
            sampling=record.sampling,
            is_ready_for=lambda live: texts.are_known(self._texts_of(live)),
            on_warm=texts.prepare,
            is_settled=texts.is_settled,
        )

    def _picture_mask(self, record: StartRecord) -> RegionMask | None:
        if self._config.region_mask == OFF:
            return None
        return picture_mask(self._config, record.latent_shape, self._placement.device)

    def _load_whole(self) -> ImageModel:
        # Another start of this kind would come to the same: without its record it is a whole one.
        self._file.unlink(missing_ok=True)
        return load_image_model(self._config, log.debug)

    # ---- what is left for the next start

    def recording(self, model: ImageModel) -> ImageModel:
        """Return `model`, whose encoded texts go into the record."""
        if self._identity is None or not all(
            isinstance(getattr(model, stage), AcceleratedStage) for stage in self._stages
        ):
            return model
        texts: dict[str, Text] = {}

        def encode_text(text: str) -> Text:
            texts[text] = model.encode_text(text)
            if self._record is not None:
                self._write_in_background()
            return texts[text]

        def on_warm() -> None:
            self._record = self._new_record(model, texts)
            # Whoever waits for engines may end once the stream is warm.
            if self._config.engine_wait and self._record is not None:
                self._write()
            else:
                self._write_in_background()

        return model._replace(encode_text=encode_text, on_warm=on_warm)

    def _new_record(self, model: ImageModel, texts: dict[str, Text]) -> StartRecord | None:
        cache = model.add_prompt_kv
        projections = cache.projections() if isinstance(cache, PromptCache) else []
        if self._identity is None or projections is None:
            return None
        engines = [
            StageEngines(stage=stage, signature=plain_signature(signature), tried=tried)
            for stage in self._stages
            for signature, tried in getattr(model, stage).engine_keys().items()
        ]
        return StartRecord(
            self._identity,
            model.latent_shape,
            model.encode_uses_noise,
            model.sampling,
            model.alphas_cumprod,
            model.time_ids,
            model.memory_values,
            engines,
            projections,
            texts,
        )

    def _write_in_background(self) -> None:
        if self._record is None:
            return
        try:
            SupervisedThread("start record", self._write, threading.Event()).start()
        except StreamcamError as error:
            log.warning("the next start will take longer: %s", error)

    def _write(self) -> None:
        """Write the record; whatever goes wrong, this start needs nothing of it."""
        assert self._record is not None
        try:
            with self._lock:
                self._store.folder.mkdir(parents=True, exist_ok=True)
                self._record.write(self._file)
        except Exception as error:
            log.warning("the next start will take longer: %s: %s", self._file, one_line(error))


class _EngineStage:
    """A stage on engines alone; a call of another kind loads the model, and waits for it."""

    def __init__(
        self,
        runs: dict[Signature, FlatForward],
        name: str,
        load_whole: Callable[[], ImageModel],
    ) -> None:
        self._runs = runs
        self._name = name
        self._load_whole = load_whole
        self._stage: Callable[..., Tensor] | None = None

    def __call__(self, *args: Any) -> Tensor:
        tensors, signature, _ = flatten_args(args)
        if run := self._runs.get(signature):
            return run(*tensors)
        if self._stage is None:
            self._stage = getattr(self._load_whole(), self._name)
        return self._stage(*args)


class _Texts:
    """The texts of a record, to which those that are asked for are added by another process.

    Args:
        record: of the last start; what is added is kept in it.
        config: names the model.
        write: writes the record; called from a thread.
        report: takes lines for the user.
    """

    def __init__(
        self, record: StartRecord, config: Config, write: Callable[[], None], report: Report
    ) -> None:
        self._texts = record.texts
        self._write = write
        self._report = report
        self._process = TextProcess(config, self._add)
        self._has_process = True
        self._asked: set[str] = set()
        self._failures: dict[str, ModelError] = {}

    def prepare(self) -> None:
        """Have the process load, once the first frames are on air."""
        try:
            self._process.start(LOAD_AFTER_S)
        except StreamcamError:  # Said of the first text that is asked for.
            self._has_process = False

    def is_settled(self) -> bool:
        """Return whether the process has loaded, which takes a core for some seconds."""
        return self._process.is_loaded or not self._has_process

    def are_known(self, texts: Sequence[str]) -> bool:
        """Return whether no text has to be waited for; ask for those that have."""
        missing = [t for t in texts if t not in self._texts and t not in self._failures]
        for text in missing:
            if text not in self._asked:
                self._ask_for(text)
        return not missing

    def _ask_for(self, text: str) -> None:
        self._asked.add(text)
        try:
            self._process.encode(text)
        except StreamcamError as error:
            self._asked.discard(text)
            self._failures[text] = ModelError(str(error))

    def __call__(self, text: str) -> Text:
        """Return the embeddings of a text that is known.

        Raises:
            ModelError: it cannot be encoded.
        """
        if (failure := self._failures.pop(text, None)) is not None:
            raise failure
        encoded = self._texts[text]
        if notice := reading_notice(text, encoded):
            self._report(notice)
        return encoded

    def _add(self, text: str, result: Text | ModelError) -> None:
        if isinstance(result, ModelError):
            self._failures[text] = result
        else:
            self._texts[text] = result
        self._asked.discard(text)
        self._write()
