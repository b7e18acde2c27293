"""What CUDA streams are told, in which order: by streams that note it."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from streamcam.frames.copy_streams import CALLS_AT_ONCE, CudaCopyStreams
from tests.diffusion.sequential_reference import InTurn

CARD = torch.device("cuda")


class Streams:
    """CUDA's streams and events, as far as `CudaCopyStreams` knows them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.names = iter(["up", "down"])
        self.model = Stream(self, "model")
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream(self, next(self.names)))
        monkeypatch.setattr(torch.cuda, "Event", lambda blocking=False: Event(self, blocking))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self.model)
        monkeypatch.setattr(torch.cuda, "stream", self.on)

    @contextmanager
    def on(self, stream: "Stream") -> Any:
        self.log.append(f"on {stream.name}")
        yield
        self.log.append("back")


class Stream:
    def __init__(self, streams: Streams, name: str) -> None:
        self._streams, self.name = streams, name

    def wait_event(self, event: "Event") -> None:
        self._streams.log.append(f"{self.name} waits for {event.of}")

    def wait_stream(self, other: "Stream") -> None:
        self._streams.log.append(f"{self.name} waits for {other.name}")


class Event:
    def __init__(self, streams: Streams, blocking: bool) -> None:
        self._streams, self.blocking, self.of = streams, blocking, ""

    def record(self, stream: Stream) -> None:
        self.of = stream.name

    def synchronize(self) -> None:
        assert self.blocking, "a processor that spins takes from the one that viewers see"
        self._streams.log.append(f"processor waits for {self.of}")


def test_a_copy_to_the_card_runs_beside_the_model_which_then_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    CudaCopyStreams(CARD).upload(lambda: streams.log.append("copy"))
    assert streams.log == ["on up", "copy", "back", "model waits for up"]


def test_a_copy_from_the_card_waits_for_the_model_and_the_processor_for_the_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    wait = CudaCopyStreams(CARD).download(lambda: streams.log.append("copy"))
    asked = ["down waits for model", "on down", "copy", "back"]
    assert streams.log == asked
    wait()
    assert streams.log == [*asked, "processor waits for down"]


def test_calls_on_their_way_have_events_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Streams(monkeypatch)
    copy_streams = CudaCopyStreams(CARD)
    waits: list[Any] = [copy_streams.download(lambda: None) for _ in range(CALLS_AT_ONCE)]
    assert len({id(wait.__self__) for wait in waits}) == CALLS_AT_ONCE


def test_new_memory_is_written_only_when_the_model_is_done_with_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    CudaCopyStreams(CARD).wait_for_model()
    assert streams.log == ["up waits for model"]


def test_in_turn_a_copy_is_made_when_it_is_asked_for() -> None:
    made: list[str] = []
    copy_streams = InTurn()
    copy_streams.upload(lambda: made.append("up"))
    wait = copy_streams.download(lambda: made.append("down"))
    assert made == ["up", "down"]
    wait()
