"""On a CPU the outputs of a call are decoded while the next one is sampled: the same, sooner."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import EngineError
from streamcam.pipelines import OverlappedStream
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.diffusion.test_stream import SIZE, grey, stand_in

MEETING_S = 10.0


def config_of(**values: Any) -> Config:
    return build_config([{"width": SIZE, "height": SIZE, "warmup": 1, "steps": 1, **values}])


def overlapped(config: Config, **stages: Any) -> DiffusionStream:
    stream = DiffusionStream(stand_in(**stages), config, overlaps=True)
    stream.warm_up()
    return stream


LEVELS = [10, 90, 90, 90, 200, 40, 40, 41, 180, 60, 20, 220]
CHANGES: dict[int, dict[str, Any]] = {
    3: {"prompt": "another", "output_blend": 0.5},
    5: {"seed": 7},
    6: {"reset": 1},
    9: {"strength": 0.4},
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"steps": 3},
        {"steps": 2, "frame_buffer_size": 2},
        {"steps": 2, "use_denoising_batch": False},
        {"mode": "txt2img"},
        {"temporal_memory": "features"},
    ],
)
def test_outputs_are_those_of_calls_one_after_another(settings: dict[str, Any]) -> None:
    config = config_of(output_blend=0.3, **settings)

    def run(stream: DiffusionStream) -> list[Frame]:
        stream.warm_up()
        parameters, out = config.live, []
        for index, level in enumerate(LEVELS):
            parameters = parameters.changed(CHANGES.get(index, {}))
            out += stream(grey(level, index), parameters)
        return out + stream.drain(parameters)

    plain = run(DiffusionStream(stand_in(), config))
    meanwhile = run(DiffusionStream(stand_in(), config, overlaps=True))
    assert [frame.index for frame in meanwhile] == list(range(len(LEVELS)))
    assert all((a.image == b.image).all() for a, b in zip(plain, meanwhile, strict=True))


def test_a_frame_is_denoised_while_the_one_before_it_is_decoded() -> None:
    meeting = threading.Barrier(2, timeout=MEETING_S)
    are_to_meet = False
    met: list[str] = []

    def meets(name: str, stage: Any) -> Any:
        def call(*values: Any) -> Any:
            if are_to_meet:
                meeting.wait()
                met.append(name)
            return stage(*values)

        return call

    plain = stand_in()
    stream = overlapped(
        config_of(),
        denoise=meets("denoise", plain.denoise),
        decode=meets("decode", plain.decode),
    )
    assert stream(grey(10, 0), stream.config.live) == []
    stream.wait()
    are_to_meet = True
    [first] = stream(grey(200, 1), stream.config.live)
    assert first.index == 0
    assert sorted(met) == ["decode", "denoise"]
    stream.wait()
    are_to_meet = False
    [second] = stream.finish()
    assert second.index == 1


def test_the_last_output_is_there_without_another_frame() -> None:
    stream = overlapped(config_of())
    assert isinstance(stream, OverlappedStream)
    assert stream.finish() == []
    assert stream(grey(200, 0), stream.config.live) == []
    [output] = stream.finish()
    alone = DiffusionStream(stand_in(), stream.config)
    [expected] = alone(grey(200, 0), alone.config.live)
    assert output.index == 0
    assert (output.image == expected.image).all()
    assert stream.finish() == []
    assert stream.drain(stream.config.live) == []


def test_a_skipped_frame_comes_after_the_frame_that_it_repeats() -> None:
    stream = overlapped(
        config_of(
            enable_similar_image_filter=True,
            similar_image_filter_threshold=0.0,
            similar_image_filter_max_skip_frame=100,
        )
    )
    out = [frame for index in range(9) for frame in stream(grey(90, index), stream.config.live)]
    out += stream.drain(stream.config.live)
    assert [frame.index for frame in out] == list(range(9))
    assert all((frame.image == out[0].image).all() for frame in out)
    assert stream.counts["skipped"] > 0


def test_an_error_in_the_other_thread_is_raised_in_this_one() -> None:
    def encode(images: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        if images.max() > 0.9:
            raise EngineError("no memory is left")
        result: torch.Tensor = stand_in().encode(images, noise)
        return result

    stream = overlapped(config_of(), encode=encode)
    stream(grey(90, 0), stream.config.live)
    stream(grey(255, 1), stream.config.live)
    with pytest.raises(EngineError, match="no memory is left"):
        stream.wait()


def test_control_images_are_read_once_no_call_writes_them() -> None:
    began, may_end = threading.Event(), threading.Event()

    def encode(images: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        began.set()
        assert may_end.wait(MEETING_S)
        result: torch.Tensor = stand_in().encode(images, noise)
        return result

    stream = DiffusionStream(stand_in(encode=encode), config_of(), overlaps=True)
    may_end.set()
    stream.warm_up()
    began.clear()
    may_end.clear()
    stream(grey(90, 0), stream.config.live)
    assert began.wait(MEETING_S)
    read = threading.Thread(target=stream.control_image)
    read.start()
    assert read.is_alive()
    may_end.set()
    read.join(MEETING_S)
    assert not read.is_alive()


def test_outputs_are_no_views_of_each_other() -> None:
    stream = overlapped(config_of())
    out: list[Frame] = []
    for index, level in enumerate([10, 90, 200]):
        out += stream(grey(level, index), stream.config.live)
    out += stream.finish()
    assert len({frame.image.tobytes() for frame in out}) == 3
    assert not np.shares_memory(out[0].image, out[1].image)
