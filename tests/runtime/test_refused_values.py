"""A live value that the engine cannot run with is refused, and the values before it come back."""

import threading
from collections import Counter
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from streamcam.control.state import Control
from streamcam.errors import EngineError, ParameterError, PromptError
from streamcam.runtime import engine_process
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_process import EngineProcess
from streamcam.runtime.engine_worker import run_stream
from streamcam.runtime.frame_ring import FrameRing, RingFrame
from streamcam.runtime.stream_runner import StreamRunner
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

CONFIG = build_config([{"width": 64, "height": 64, "prompt": "a cat"}])
IMAGE = np.zeros((64, 64, 3), np.uint8)
NO_MEMORY = 'the prompt "a novel" cannot be encoded: out of memory'


class Unpaused:
    """Backoff without pauses."""

    def next(self, *, healthy_s: float = 0.0) -> float:  # noqa: ARG002
        return 0.0


@pytest.fixture
def control() -> Control:
    return Control(CONFIG)


def test_a_prompt_that_ends_two_engines_is_refused_and_the_one_before_comes_back(
    control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineProcess(CONFIG, lambda _error: None, control.refuse)
    runs: list[Any] = []
    over = threading.Event()

    def run_once(engine: EngineProcess) -> str:
        """Run as an engine that ends over any prompt but the first one."""
        engine._reset_state()
        engine._handle_message(EngineMessage("ready"))
        engine.offer(Frame(IMAGE, len(runs), 0.0), control.parameters)
        runs.append(control.parameters.prompt)
        if control.parameters.prompt == CONFIG.live.prompt:
            over.set()
            engine._stopping.wait()
        return "the engine has died (signal 9)"

    monkeypatch.setattr(EngineProcess, "_run_once", run_once)
    monkeypatch.setattr(engine_process, "Backoff", Unpaused)
    control.change({"prompt": "a bomb"})
    engine.start()
    try:
        assert over.wait(20)
    finally:
        engine.stop()
    bomb = (("a bomb", 1.0),)
    assert runs == [bomb, bomb, CONFIG.live.prompt]
    said = "the engine has crashed twice with prompt 'a bomb'"
    assert said in engine.notice
    assert said in caplog.text
    with pytest.raises(ParameterError, match=said):
        control.change({"prompt": "a bomb"})
    assert control.change({"prompt": "a dog"}).prompt == (("a dog", 1.0),)


class Picky:
    """Stream that cannot encode one text; it fails when there are no more frames for it."""

    chunk = 1
    accepts_any_size = False
    is_settled = True
    notice = ""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ran: list[str] = []

    def warm_up(self) -> None:
        return

    def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
        [(text, _)] = parameters.prompt
        if text == "a novel":
            raise PromptError(text, "out of memory")
        self.ran.append(text)
        self.notice = "the last 3 tokens are not read" if text == "a dog" else ""
        return [frame]

    def drain(self, _parameters: Parameters) -> list[Frame]:
        return []


class Frames:
    """Ring of frames with these prompts, which then ends."""

    missed = 0

    def __init__(self, *texts: str) -> None:
        self._texts = [*enumerate(texts, 1)]
        self._opened = False

    def wait(self, _timeout_s: float) -> bool:
        return True

    def take(self) -> list[RingFrame]:
        if not self._opened:  # What came while the model was loading.
            self._opened = True
            return []
        if not self._texts:
            raise EngineError("that was all")
        version, text = self._texts.pop(0)
        metadata = CONFIG.live.changed({"prompt": text}).model_dump_json().encode()
        return [RingFrame(IMAGE, version, 0.0, version, metadata, version)]


def messages_of(stream: Picky, *texts: str) -> list[EngineMessage]:
    """Return what an engine process says that runs `stream` on frames with these prompts."""
    ours, theirs = Pipe()
    outputs: Any = FrameRing((64, 64, 3), capacity=len(texts))
    try:
        with pytest.raises(EngineError, match="that was all"):
            run_stream(stream, CONFIG, Frames(*texts), outputs, theirs.send)  # type: ignore[arg-type]
        assert len(outputs.take()) == len(texts)
    finally:
        outputs.close(unlink=True)
    said: list[EngineMessage] = []
    while ours.poll():
        said.append(ours.recv())
    # A call that takes longer on a busy machine counts as encoding.
    return [message for message in said if message.kind != "encoded"]


def test_a_text_that_cannot_be_encoded_is_refused_and_the_engine_runs_on_with_the_last() -> None:
    stream = Picky()
    messages = messages_of(stream, "a cat", "a bird", "a novel", "a hen")
    [refused] = [message for message in messages if message.kind != "notice"]
    assert stream.ran == ["a cat", "a bird", "a bird", "a hen"]
    assert refused == EngineMessage("refused", NO_MEMORY, refused_text="a novel", version=2)


def test_a_remark_is_sent_with_the_prompt_that_it_is_about() -> None:
    said = messages_of(Picky(), "a cat", "a dog", "a dog", "a cat")
    assert [(message.kind, message.text, message.texts) for message in said] == [
        ("notice", "", ("a cat",)),
        ("notice", "the last 3 tokens are not read", ("a dog",)),
        ("notice", "", ("a cat",)),
    ]


def test_a_remark_is_not_taken_for_one_on_a_newer_prompt(control: Control) -> None:
    engine = EngineProcess(CONFIG, lambda _error: None, control.refuse)
    try:
        bird = control.change({"prompt": "a bird"})
        assert not engine.has_read(bird)
        engine._handle_message(EngineMessage("notice", "as a hen", texts=("a bird", "a cat")))
        assert engine.has_read(bird)
        assert engine.has_read(control.change({"prompt": [["a bird", 1], ["a dog", 0]]}))
        assert not engine.has_read(control.change({"prompt": "a dog"}))
    finally:
        engine.stop()


def test_the_time_that_a_new_prompt_takes_to_encode_is_in_the_status(control: Control) -> None:
    now, calls = [0.0], {"a cat": 0.02, "a dog": 0.1, "a bird": 0.02}
    messages: list[EngineMessage] = []

    class Slow(Picky):
        def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
            [(text, _)] = parameters.prompt
            now[0] += calls[text]
            calls[text] = 0.02  # It is kept.
            return [frame]

    runner = StreamRunner(Slow(), CONFIG.live, messages.append, lambda: now[0])
    for version, text in enumerate(("a cat", "a dog", "a dog", "a bird", "a dog")):
        runner.run(Frame(IMAGE, version, 0.0), CONFIG.live.changed({"prompt": text}), version)
    [encoded] = [message for message in messages if message.kind == "encoded"]
    assert round(encoded.encoding_s, 3) == 0.08
    engine = EngineProcess(CONFIG, lambda _error: None, control.refuse)
    try:
        engine._handle_message(encoded)
        assert engine.prompt_encoding == encoded.encoding_s
    finally:
        engine.stop()


def test_a_refused_text_is_taken_back_from_the_live_values(control: Control) -> None:
    engine = EngineProcess(CONFIG, lambda _error: None, control.refuse)
    try:
        control.change({"prompt": "a bird", "seed": 7})
        engine.offer(Frame(IMAGE, 0, 0.0), control.parameters)
        good = engine._version
        control.change({"prompt": "a novel", "panic": True})
        engine.offer(Frame(IMAGE, 1, 0.0), control.parameters)
        engine._handle_message(
            EngineMessage("refused", NO_MEMORY, refused_text="a novel", version=good)
        )
    finally:
        engine.stop()
    now = control.parameters
    assert (now.prompt, now.seed, now.panic) == ((("a bird", 1.0),), 7, True)
    assert engine.notice.startswith(NO_MEMORY)
    assert engine.has_read(now)  # So that the reason is shown.
    for field in ("prompt", "negative_prompt"):
        with pytest.raises(ParameterError, match="out of memory"):
            control.change({field: "a novel"})
