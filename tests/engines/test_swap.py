"""An engine is activated on air in another thread, and no frame waits or is lost."""

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from streamcam.diffusion.image_model import load_image_model
from streamcam.engines.builder import AcceleratedStage, EngineBuilder
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.store import Store
from streamcam.settings.config_layers import build_config
from tests.engines.storms import SETTINGS
from tests.support.streams import TINY, RecordingStream, images, moving


class RecordingEngine:
    """An engine that is a copy of the stage; it records the threads that load and run it."""

    name = "watched"
    dtype = weights_dtype = torch.float32

    def __init__(self) -> None:
        self.copies: list[FlatStage] = []
        self.builders: list[str] = []
        self.loaders: list[str] = []
        self.runners: list[str] = []
        self.is_loading = threading.Event()
        self.may_load = threading.Event()

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:  # noqa: ARG002
        self.builders.append(threading.current_thread().name)
        (folder / "copy").write_text(str(len(self.copies)))
        own = copy.deepcopy(flat.stage)
        self.copies.append(FlatStage(own, flat._structure, flat._present))

    def load(self, folder: Path) -> FlatForward:
        self.loaders.append(threading.current_thread().name)
        self.is_loading.set()
        assert self.may_load.wait(60)
        stage = self.copies[int((folder / "copy").read_text())]

        def run(*tensors: Tensor) -> Tensor:
            self.runners.append(threading.current_thread().name)
            result: Tensor = stage(*tensors)
            return result

        return run


def test_no_frame_waits_for_an_engine_and_none_is_lost_when_it_is_activated(tmp_path: Path) -> None:
    models = load_image_model(build_config([TINY, SETTINGS]), lambda _: None)
    assert isinstance(models.denoise, nn.Module)
    frames = moving(18, size=32)
    expected = RecordingStream(models, **SETTINGS)(frames)
    engine, store = RecordingEngine(), Store(tmp_path)

    def builder() -> Iterator[str]:
        """Play the child process, which waits for nothing."""
        engine.may_load.set()
        stages = EngineBuilder([engine], store, lambda _: None, builder=None, waits=True)
        RecordingStream(models._replace(denoise=stages(models.denoise)), **SETTINGS)(frames[:2])
        engine.may_load.clear()
        engine.is_loading.clear()
        engine.loaders.clear()
        engine.runners.clear()
        yield "built"

    stages = EngineBuilder([engine], store, lambda _: None, builder=builder, waits=False)
    denoise = stages(models.denoise)
    assert isinstance(denoise, AcceleratedStage)
    on_air = RecordingStream(models._replace(denoise=denoise), **SETTINGS)
    parameters = on_air.config.live
    made = on_air.stream(frames[0], parameters)
    assert engine.is_loading.wait(60)
    # It is being loaded, and goes on being that: every frame of these runs as it did before.
    for frame in frames[1:9]:
        made += on_air.stream(frame, parameters)
    assert engine.runners == []
    engine.may_load.set()
    for _ in range(2000):
        if not any(isinstance(run, FlatStage) for run in denoise._runs.values()):
            break
        threading.Event().wait(0.01)
    warmed = len(engine.runners)
    for frame in frames[9:]:
        made += on_air.stream(frame, parameters)
    made += on_air.stream.drain(parameters)
    assert [frame.index for frame in made] == [frame.index for frame in frames]
    assert np.array_equal(images(made), images(expected))
    # Building, loading and the slow first call were the other thread's; the frames' has the rest.
    frames_thread = threading.current_thread().name
    assert set(engine.builders) == set(engine.loaders) == {"engines"}
    assert set(engine.runners[:warmed]) == {"engines"}
    assert set(engine.runners[warmed:]) == {frames_thread}
    assert len(engine.runners) > warmed > 0
