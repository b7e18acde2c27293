"""Prompts that change: at once in a render, on air without delaying the output."""

import threading
import time
from concurrent.futures import wait
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamcam.errors import PromptError
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.video.live_stream import LiveVideoStream
from streamcam.video.prompt_change import BackgroundPromptTracker, PromptTracker
from streamcam.video.scheduler import Choice
from tests.support.streams import images, moving
from tests.video.test_live_stream import live
from tests.video.video_streams import RecordingStream, loaded

PATIENCE_S = 30.0


def snapshot(*texts: str) -> Parameters:
    return build_config([{}]).live.changed({"prompt": [[text, 1.0] for text in texts]})


class Encoder:
    """Encodes a text as its length; all but the first wait until `may` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = threading.Event()

    def __call__(self, text: str) -> Tensor:
        self.asked.append(text)
        if len(self.asked) > 1:
            assert self.may.wait(PATIENCE_S)
        return torch.full((1, 2, 3), float(len(text)))


def test_a_render_waits_for_its_prompts() -> None:
    encoder = Encoder()
    encoder.may.set()
    tracker = PromptTracker(encoder, "recache")
    assert float(tracker.start(snapshot("a"))[0, 0, 0]) == 1
    change = tracker.update(snapshot("a dog"))
    assert change
    assert float(change.embeds[0, 0, 0]) == 5


def test_on_air_the_old_prompt_stays_until_the_newest_is_encoded() -> None:
    encoder = Encoder()
    tracker = BackgroundPromptTracker(encoder, "recache")
    assert float(tracker.start(snapshot("a"))[0, 0, 0]) == 1
    assert tracker.update(snapshot("a dog")) is None
    assert tracker.update(snapshot("a bird")) is None
    # A reset does not wait for it either.
    assert float(tracker.start(snapshot("a cat, a bird"))[0, 0, 0]) == 1
    encoder.may.set()
    end = time.monotonic() + PATIENCE_S
    while (change := tracker.update(snapshot("a bird", "a hen"))) is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert change.kind == "recache"
    assert float(change.embeds[0, 0, 0]) == 5.5
    # A prompt that is no longer wanted is encoded only if its encoding had started.
    assert encoder.asked == ["a", "a dog", "a bird", "a hen"]


def test_a_text_that_cannot_be_encoded_on_air_is_refused_and_the_old_one_stays() -> None:
    def fails(text: str) -> Tensor:
        if text == "a":
            return torch.zeros(1, 2, 3)
        raise RuntimeError("no memory")

    tracker = BackgroundPromptTracker(fails, "recache")
    tracker.start(snapshot("a"))
    tracker.check(snapshot("b"))
    tracker.update(snapshot("b"))
    assert tracker._encoding is not None
    wait([tracker._encoding], PATIENCE_S)
    assert tracker.update(snapshot("b")) is None
    for _ in range(2):
        with pytest.raises(PromptError, match="no memory") as refused:
            tracker.check(snapshot("a", "b"))
        assert refused.value.text == "b"
    tracker.check(snapshot("a"))
    assert tracker._encoding is None


def test_a_prompt_is_refused_on_air_before_its_frame_is_taken() -> None:
    config = RecordingStream(steps=1, deadline=60, target_fps=30).config
    models = loaded("wan", "wan")

    def encode_text(text: str) -> Tensor:
        if text == "a novel":
            raise RuntimeError("no memory")
        return models.encode_text(text)

    stream = LiveVideoStream(
        models._replace(encode_text=encode_text), config, {Choice(1, 1, True): 0.001}
    )
    frames = moving(13, size=32)
    outputs = live(stream, frames[:5], prompt="a novel")
    wait([stream._prompt_tracker._encoding], PATIENCE_S)  # type: ignore[attr-defined]
    outputs += live(stream, frames[5:9], prompt="a novel")
    with pytest.raises(PromptError, match="no memory"):
        live(stream, frames[9:10], prompt="a novel")
    outputs += live(stream, frames[9:])
    assert [f.index for f in outputs] == [*range(13)]


def test_output_continues_while_a_prompt_is_encoded() -> None:
    config = RecordingStream(steps=1, deadline=60, target_fps=30).config
    models, encoder = loaded("wan", "wan"), Encoder()

    def encode_text(text: str) -> Tensor:
        encoder(text)
        return models.encode_text(text)

    stream = LiveVideoStream(
        models._replace(encode_text=encode_text), config, {Choice(1, 1, True): 0.001}
    )
    frames = moving(41, size=32)
    outputs = live(stream, frames[:5])
    outputs += live(stream, frames[5:21], prompt="a dog")
    assert [f.index for f in outputs] == [*range(21)]
    assert encoder.asked == ["a cat", "a dog"]
    encoder.may.set()
    assert stream._prompt_tracker._encoding is not None  # type: ignore[attr-defined]
    stream._prompt_tracker._encoding.result()  # type: ignore[attr-defined]
    outputs += live(stream, frames[21:], prompt="a dog")
    rendered = RecordingStream(steps=1)(frames, {21: {"prompt": "a dog"}})
    expected: list[Any] = [output for out in rendered for output in out]
    assert np.array_equal(images(outputs), images(expected))
