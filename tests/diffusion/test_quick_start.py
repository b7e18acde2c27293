"""A second start runs on its engines at once, and gives what a whole start gives."""

import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

from streamcam.diffusion import image_model, quick_start
from streamcam.diffusion.start_record import read_record
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines import selection
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import ModelError, PromptError
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

SIZE = 64
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
BOTH = (("oil", 1.0), ("ink", 1.0))


class PickledEngine:
    """An engine whose files are the stage itself."""

    name = "pickled"
    dtype = weights_dtype = torch.float32

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:  # noqa: ARG002
        torch.save(flat, folder / "stage")

    def load(self, folder: Path) -> FlatForward:
        run: FlatForward = torch.load(folder / "stage", weights_only=False)
        return run


class Loads:
    """Whole models that were loaded; with an `error` it is raised instead."""

    def __init__(self, load: Callable[..., Any]) -> None:
        self.count = 0
        self.error: Exception | None = None
        self._load = load

    def __call__(self, *args: Any) -> Any:
        self.count += 1
        if self.error:
            raise self.error
        return self._load(*args)


class WholeModelError(Exception):
    """Raised where the whole model would be loaded."""


def prepare(patch: pytest.MonkeyPatch) -> Loads:
    """Let files count as unchanged at once, and count the models that are loaded."""
    patch.setattr("streamcam.system.file_identity.SETTLED_FINE_S", -1e9)
    patch.setattr("streamcam.system.file_identity.SETTLED_COARSE_S", -1e9)
    patch.setattr(quick_start, "LOAD_AFTER_S", 3600.0)
    patch.setitem(selection.ENGINES, "openvino", lambda *_: PickledEngine())
    loads = Loads(image_model.load_pipeline)
    patch.setattr(image_model, "load_pipeline", loads)
    return loads


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    return prepare(monkeypatch)


class Before(NamedTuple):
    """A whole start, and its outputs for prompts that it was given."""

    folder: Path
    oil: bytes
    ink: bytes
    both: bytes


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Before:
    folder = tmp_path_factory.mktemp("engines")
    config = settings(folder)
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch)
        stream = start(config)
        ink, both = (config.changed(config.live, {"prompt": prompt}) for prompt in ("ink", BOTH))
        images = [image(stream, parameters) for parameters in (config.live, ink, both)]
        wait_for_record()
    return Before(folder, *images)


@pytest.fixture
def before(first_start: Before, tmp_path: Path) -> Before:
    """Return the first start with a copy of its files."""
    folder = tmp_path / "engines"
    shutil.copytree(first_start.folder, folder)
    return first_start._replace(folder=folder)


def settings(folder: Path, prompt: Any = "oil", **changes: Any) -> Config:
    fixed = {"model": "random:tiny-sd-turbo", "device": "cpu", "dtype": "float32", "warmup": 1}
    fixed |= {"acceleration": "openvino", "width": SIZE, "height": SIZE, "engine_dir": str(folder)}
    live = Parameters(prompt=prompt, **changes.pop("live", {}))
    return Config.model_validate({**fixed, **changes, "live": live})


def start(config: Config, report: Callable[[str], None] = lambda _: None) -> DiffusionStream:
    """Start as an engine process does, building what is missing; wait for what it records."""
    with pytest.MonkeyPatch.context() as patch:
        build_here(patch)
        stream = DiffusionStream(quick_start.load_live_image_model(config, report), config)
        stream.warm_up()
    wait_for_record()
    return stream


def build_here(patch: pytest.MonkeyPatch) -> None:
    """Let missing engines be built in this process."""
    whole = image_model.load_image_model
    patch.setattr(quick_start, "load_image_model", lambda *args: whole(*args, builds_here=True))


def wait_for_record() -> None:
    for thread in threading.enumerate():
        if thread.name == "start record":
            thread.join()


def image(stream: DiffusionStream, parameters: Parameters) -> bytes:
    """Return the last of some outputs for the same frame: none before is in flight any more."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    outputs = [out for i in range(4) for out in stream(Frame(pixels, i, 0.0), parameters)]
    return outputs[-1].image.tobytes()


def test_a_second_start_loads_no_model_and_gives_the_same(before: Before, loads: Loads) -> None:
    config = settings(before.folder)
    lines: list[str] = []
    assert image(start(config, lines.append), config.live) == before.oil
    assert not loads.count
    assert lines[0] == "model random:tiny-sd-turbo, on the engines of the last start"
    assert sum("dB against float32" in line for line in lines) == 3


@pytest.mark.parametrize("mask", ["person", "picture"])
def test_a_stream_with_regions_and_a_memory_starts_without_the_model_too(
    tmp_path: Path, loads: Loads, mask: str
) -> None:
    if mask == "picture":
        mask = str(tmp_path / "mask.png")
        Pillow.fromarray(np.tri(SIZE, dtype=np.uint8) * 255).save(mask)
    config = settings(
        tmp_path,
        region_mask=mask,
        temporal_memory="features",
        live={"strength_person": 0.2, "output_blend": 0.3, "noise_follow": True},
    )
    whole = image(start(config), config.live)
    assert loads.count == 1
    stream = start(config)
    assert image(stream, config.live) == whole
    forgetful = config.changed(config.live, {"temporal_strength": 0, "strength_person": 0.9})
    assert image(stream, forgetful) != whole
    assert loads.count == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ValueError("a bug")])
def test_a_record_that_cannot_be_written_costs_nothing_but_the_next_start(
    tmp_path: Path,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(quick_start.StartRecord, "write", fail)
    config = settings(tmp_path)
    assert image(start(config), config.live)
    assert "the next start will take longer" in caplog.text
    assert "failed; running it again" not in caplog.text


def test_a_start_that_waits_for_engines_has_left_its_record_once_it_is_warm(
    tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_start, "SupervisedThread", None)
    start(settings(tmp_path, engine_wait=True))
    assert [*tmp_path.glob("*.start")]


def test_it_is_settled_once_the_process_that_encodes_texts_is_loaded(
    before: Before, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_start, "TextProcess", FakeTextProcess)
    stream = start(settings(before.folder))
    assert not stream.is_settled
    FakeTextProcess.newest.is_loaded = True
    assert stream.is_settled


def test_a_prompt_of_before_is_known_at_the_next_start(before: Before, loads: Loads) -> None:
    config = settings(before.folder, "ink")
    stream = start(config)
    assert image(stream, config.live) == before.ink
    assert image(stream, config.changed(config.live, {"prompt": "oil"})) == before.oil
    assert not loads.count


def test_known_prompts_are_blended_without_the_model(before: Before, loads: Loads) -> None:
    config = settings(before.folder)
    stream = start(config)
    assert image(stream, config.changed(config.live, {"prompt": BOTH})) == before.both
    blended = settings(before.folder, BOTH)
    assert image(start(blended), blended.live) == before.both
    assert not loads.count


class FakeTextProcess:
    """A process that answers on request."""

    def __init__(self, config: Config, on_encoded: Callable[[str, Any], None]) -> None:
        del config
        self.answer = on_encoded
        self.asked: list[str] = []
        self.is_loaded = False
        FakeTextProcess.newest = self

    newest: "FakeTextProcess"

    def start(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s

    def encode(self, text: str) -> None:
        self.asked.append(text)


def test_a_new_prompt_is_used_once_another_process_has_encoded_it(
    before: Before, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_start, "TextProcess", FakeTextProcess)
    config = settings(before.folder)
    stream, process = start(config), FakeTextProcess.newest
    assert process.delay_s == quick_start.LOAD_AFTER_S
    changed = config.changed(config.live, {"prompt": "chalk"})
    assert image(stream, changed) == before.oil
    assert process.asked == ["chalk"], "once"
    assert "once what encodes it is loaded" in stream.notice
    ink = read_record(next(before.folder.glob("*.start")), torch.device("cpu")).texts["ink"]  # type: ignore[union-attr]
    process.is_loaded = True
    assert not stream.is_settled, "it runs with the prompt before"
    process.answer("chalk", ink)
    assert image(stream, changed) == before.ink
    assert not stream.notice
    assert stream.is_settled
    chalk = settings(before.folder, "chalk")
    assert image(start(chalk), chalk.live) == before.ink, "and is known at the next start"
    assert not loads.count


def test_a_prompt_that_cannot_be_encoded_is_refused_and_may_be_tried_again(
    before: Before, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_start, "TextProcess", FakeTextProcess)
    config = settings(before.folder)
    stream, process = start(config), FakeTextProcess.newest
    changed = config.changed(config.live, {"prompt": "chalk"})
    image(stream, changed)
    process.answer("chalk", ModelError("the disk is gone"))
    with pytest.raises(PromptError, match="the disk is gone"):
        image(stream, changed)
    assert image(stream, config.live) == before.oil
    image(stream, changed)
    assert process.asked == ["chalk", "chalk"]
    assert not loads.count


def test_a_call_of_another_kind_loads_the_model(before: Before, loads: Loads) -> None:
    config = settings(before.folder)
    model = quick_start.load_live_image_model(config, lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        build_here(patch)
        assert model.decode(torch.zeros(2, *model.latent_shape)).shape == (2, 3, SIZE, SIZE)
    assert loads.count == 1
    assert not [*before.folder.glob("*.start")], "so that the next start is a whole one"


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "unheard of"},
        {"live": {"negative_prompt": "grey"}, "cfg_type": "full"},
        {"frame_buffer_size": 2},
        {"model": "random:tiny-sd-1.5"},
        {"cache_prompt_kv": False},
    ],
)
def test_other_settings_need_the_whole_model(
    before: Before, loads: Loads, changes: dict[str, Any]
) -> None:
    loads.error = WholeModelError()
    with pytest.raises(WholeModelError):
        start(settings(before.folder, **changes))


@pytest.mark.parametrize(
    "damage", ["record", "cut", "writable", "engine", "engine gone", "refused", "code"]
)
def test_what_is_damaged_or_has_changed_needs_the_whole_model(
    before: Before, loads: Loads, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    [record] = before.folder.glob("*.start")
    stage = next(before.folder.glob("*/stage"))
    match damage:
        case "record":
            record.write_bytes(b"nothing")
        case "cut":
            record.write_bytes(record.read_bytes()[:-5])
        case "writable" if sys.platform == "win32":
            pytest.skip("Windows has other permissions")
        case "writable":
            record.chmod(0o666)
        case "engine":
            stage.write_bytes(stage.read_bytes() + b"!")
        case "engine gone":
            stage.unlink()
        case "refused":
            manifest = stage.parent / "manifest.json"
            text = manifest.read_text().replace('"psnr"', '"refused": "noisy", "psnr"')
            manifest.write_text(text)
        case "code":
            monkeypatch.setattr(quick_start, "joint_identity", lambda _: "edited")
    loads.error = WholeModelError()
    with pytest.raises(WholeModelError):
        start(settings(before.folder))
