"""Several streams on one model: each gets what it would get alone."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.shared_model import SharedModel, batch_sizes
from streamcam.diffusion.shared_stream import load_shared_streams, warm_up_together
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import ConfigError
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

FRAMES = 5
LOOKS = (
    {"prompt": "pencil sketch", "seed": 1},
    {"prompt": "oil painting", "seed": 2, "guidance_scale": 2.0, "negative_prompt": "neon"},
    {"prompt": "neon", "seed": 3, "strength": 0.9},
)


def config(**settings: Any) -> Config:
    size = {"width": 64, "height": 64, "shape": "fixed", "device": "cpu", "dtype": "float32"}
    return build_config([{"model": "nano", **size, "acceleration": "eager", "fps": 5, **settings}])


def images(seed: int) -> list[Image]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(FRAMES)]


def outputs(stream: Callable[[Frame, Parameters], list[Frame]], of: Config, number: int) -> Any:
    parameters = of.changed(of.live, LOOKS[number])
    frames = [Frame(image, i, 0.0) for i, image in enumerate(images(number))]
    return [out.image.astype(int) for frame in frames for out in stream(frame, parameters)]


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return what the calls return, each made in a thread of its own."""
    results: dict[int, Any] = {}

    def run(number: int, call: Callable[[], Any]) -> None:
        results[number] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[number] for number in range(len(calls))]


@pytest.mark.parametrize(
    "settings", [{"steps": 1, "cfg_type": "self"}, {"steps": 2, "cfg_type": "full"}]
)
def test_every_stream_gets_what_it_would_get_alone(settings: dict[str, Any]) -> None:
    of = config(**settings)
    model = load_image_model(of, lambda _: None)
    alone = [outputs(DiffusionStream(model, of), of, n) for n in range(3)]
    streams = load_shared_streams(of, lambda _: None, 3)
    shared = streams[0].shared
    got = together([partial(outputs, stream, of, n) for n, stream in enumerate(streams)])
    for mine, expected in zip(got, alone, strict=True):
        assert len(mine) == len(expected) > 2
        # Convolutions of other sizes round otherwise; a grey level is 1 / 255.
        assert max(np.abs(a - b).max() for a, b in zip(mine, expected, strict=True)) <= 1
    # Encode, denoise and decode, mostly once for all.
    assert shared.calls < 2.2 * 3 * FRAMES


class Counted:
    """A model whose stages add 1, and say with how many rows they were called."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def model(self) -> Any:
        def stage(x: torch.Tensor, *_: Any) -> torch.Tensor:
            self.rows.append(len(x))
            if (x < 0).any():
                raise ValueError("a negative value")
            return x + 1

        class Model:
            encode = denoise = decode = staticmethod(stage)

            def _replace(self, **stages: Any) -> Any:
                return stages

        return Model()


def shared_of(count: int, wait_s: float) -> tuple[Counted, SharedModel, list[Any]]:
    counted = Counted()
    shared = SharedModel(counted.model(), count, wait_s)
    return (
        counted,
        shared,
        [cast("dict[str, Any]", shared.model_of(n))["denoise"] for n in range(count)],
    )


def test_calls_at_one_time_are_one_call() -> None:
    counted, shared, stages = shared_of(3, wait_s=20)

    def run(number: int) -> list[float]:
        with shared.frame(number):
            return stages[number](torch.full((2, 1), float(number))).flatten().tolist()  # type: ignore[no-any-return]

    shared.expect(3)
    assert together([partial(run, n) for n in range(3)]) == [[1, 1], [2, 2], [3, 3]]
    assert counted.rows == [6]


def test_a_stream_that_has_stopped_is_waited_for_once_and_a_tick_at_most() -> None:
    counted, shared, stages = shared_of(2, wait_s=0.1)
    shared.expect(2)
    began = time.monotonic()
    for _ in range(20):
        with shared.frame(0):
            stages[0](torch.zeros(1, 1))
    assert counted.rows == [1] * 20
    assert time.monotonic() - began < 1.5


def test_a_call_that_fails_fails_its_own_stream_alone() -> None:
    _, shared, stages = shared_of(2, wait_s=20)
    shared.expect(2)

    def run(number: int) -> str:
        with shared.frame(number):
            try:
                return str(stages[number](torch.full((1,), float(-number))).item())
            except ValueError as error:
                return str(error)

    assert together([partial(run, n) for n in range(2)]) == ["1.0", "a negative value"]


def test_sizes_of_calls_are_few() -> None:
    assert [batch_sizes(n) for n in (1, 2, 3, 8, 10)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 10]
    ]  # fmt: skip


def test_every_size_is_made_before_anything_is_on_air() -> None:
    of = config(steps=1, warmup=1)
    streams = load_shared_streams(of, lambda _: None, 3)
    warm_up_together(streams)
    assert {size for _, size, _ in streams[0].shared._batches} == {2, 3}


def test_first_calls_that_fail_are_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = load_shared_streams(config(steps=1, warmup=1), lambda _: None, 2)

    warm_up, done = DiffusionStream.warm_up, list[DiffusionStream]()

    def fail_the_second_time(stream: DiffusionStream) -> None:
        done.append(stream)
        if len(done) == 2:
            raise MemoryError("no room")
        warm_up(stream)

    monkeypatch.setattr(DiffusionStream, "warm_up", fail_the_second_time)
    with pytest.raises(MemoryError, match="no room"):
        warm_up_together(streams)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cross_frame_attention": True}, "cross_frame_attention"),
        ({"temporal_memory": "features", "region_mask": "person"}, "temporal_memory, region_mask"),
        ({"lora": {"a.safetensors": 1.0}}, "live_loras"),
    ],
)
def test_what_steers_a_call_as_a_whole_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot run with {named}: leave that out"):
        load_shared_streams(config(**settings), print, 2)
