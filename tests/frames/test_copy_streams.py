"""The order of work on CUDA streams, recorded by fakes of them."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from streamcam.frames.copy_streams import CALLS_AT_ONCE, CudaCopyStreams
from tests.support.synchronous_copies import SynchronousCopyStreams

GPU = torch.device("cuda")


class Streams:
    """A fake of CUDA's streams and events, as far as `CudaCopyStreams` uses them."""

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

    def wait_stream(self, stream: "Stream") -> None:
        self._streams.log.append(f"{self.name} waits for {stream.name}")


class Event:
    def __init__(self, streams: Streams, blocking: bool) -> None:
        self._streams, self.blocking, self.of = streams, blocking, ""

    def record(self, stream: Stream) -> None:
        self.of = stream.name

    def synchronize(self) -> None:
        assert self.blocking, "a CPU that spins slows the process that viewers depend on"
        self._streams.log.append(f"CPU waits for {self.of}")


def test_an_upload_has_its_own_stream_and_the_model_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    CudaCopyStreams(GPU).upload(lambda: streams.log.append("copy"))
    assert streams.log == ["on up", "copy", "back", "model waits for up"]


def test_a_download_waits_for_the_model_and_the_cpu_for_the_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    wait = CudaCopyStreams(GPU).download(lambda: streams.log.append("copy"))
    queued = ["down waits for model", "on down", "copy", "back"]
    assert streams.log == queued
    wait()
    assert streams.log == [*queued, "CPU waits for down"]


def test_calls_in_flight_have_events_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Streams(monkeypatch)
    copy_streams = CudaCopyStreams(GPU)
    waits: list[Any] = [copy_streams.download(lambda: None) for _ in range(CALLS_AT_ONCE)]
    assert len({id(wait.__self__) for wait in waits}) == CALLS_AT_ONCE


def test_new_memory_is_written_only_when_the_model_is_done_with_its_last_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(monkeypatch)
    CudaCopyStreams(GPU).wait_for_model()
    assert streams.log == ["up waits for model"]


def test_without_streams_a_copy_is_made_at_once() -> None:
    copies: list[str] = []
    copy_streams = SynchronousCopyStreams()
    copy_streams.upload(lambda: copies.append("up"))
    wait = copy_streams.download(lambda: copies.append("down"))
    assert copies == ["up", "down"]
    wait()
