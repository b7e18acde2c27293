"""One model for several streams at once: their rows run in the same calls of the stages.

Every stream keeps its own prompts, seed and state, in a thread of its own, and knows nothing of the
others. Streams that have a frame at about the same time form a group; where all of a group have
come to a stage, that runs once for all of them. Engines are for fixed shapes, so a call is filled
up to the next of a few sizes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stages import Text
from streamcam.engines.flat_stage import Signature, flatten_args
from streamcam.engines.graphed_calls import GraphedCalls

Stage = Callable[..., Tensor]


class _Request:
    """A call of a stage that waits to be run."""

    def __init__(self, stage: str, args: tuple[Any, ...]) -> None:
        self.stage, self.args = stage, args
        _, self.signature, _ = flatten_args(args)
        self.result: Tensor | None = None
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


class SharedModel:
    """Runs the calls of several streams together.

    Args:
        model: whose stages run.
        streams: the most streams at a time.
        wait_s: seconds that no stream waits longer for the others.
    """

    def __init__(self, model: ImageModel, streams: int, wait_s: float) -> None:
        self.sizes = batch_sizes(streams)
        """Numbers of streams that a call is made for."""
        self.calls = 0
        """Calls of stages so far."""
        self._stages: dict[str, Stage] = {
            "encode": model.encode, "denoise": model.denoise, "decode": model.decode
        }  # fmt: skip
        self._model = model
        self.wait_s = wait_s
        """Seconds that no stream waits longer for the others."""
        self._encoding = threading.Lock()
        self._changed = threading.Condition()
        self._joining: set[int] = set()
        self._group: set[int] = set()
        self._usual: set[int] = set()
        """Streams of the last group, which the next one waits for."""
        self._waiting: dict[int, _Request] = {}
        self._batches: dict[tuple[str, int, int], tuple[tuple[Tensor, ...], Tensor]] = {}

    def model_of(self, stream: int) -> ImageModel:
        """Return the model as the stream of that number is to use it, inside of `frame`."""

        def stage(name: str) -> Stage:
            return lambda *args: self._call(stream, name, args)

        def encode_text(text: str) -> Text:
            with self._encoding:  # Tokenizers keep settings of the call that runs.
                return self._model.encode_text(text)

        return self._model._replace(
            encode_text=encode_text,
            encode=stage("encode"),
            denoise=stage("denoise"),
            decode=stage("decode"),
            # A graph would hold the calls of one stream alone.
            graphs=GraphedCalls,
        )

    def expect(self, streams: int) -> None:
        """Wait for the first so many streams with the next frame, as if they had had one before."""
        with self._changed:
            self._usual = set(range(streams))

    @contextmanager
    def frame(self, stream: int) -> Iterator[None]:
        """Run what is inside together with the other streams that have a frame now."""
        self._join(stream)
        try:
            yield
        finally:
            with self._changed:
                self._group.discard(stream)
                self._waiting.pop(stream, None)
                self._changed.notify_all()

    def _join(self, stream: int) -> None:
        with self._changed:
            self._joining.add(stream)
            self._changed.notify_all()
            # The first to see that all are here, or that time is up, begins the group for all.
            self._changed.wait_for(
                lambda: stream in self._group or self._is_complete(), self.wait_s
            )
            # The group before may still be running.
            self._changed.wait_for(lambda: stream in self._group or not self._group)
            if stream not in self._group:
                self._group, self._joining = self._joining, set()
                self._usual = set(self._group)
                self._changed.notify_all()

    def _is_complete(self) -> bool:
        return not self._group and self._joining >= self._usual

    def _call(self, stream: int, stage: str, args: tuple[Any, ...]) -> Tensor:
        request = _Request(stage, args)
        with self._changed:
            self._waiting[stream] = request
            self._changed.notify_all()
            self._changed.wait_for(lambda: request.is_done or self._all_wait(), self.wait_s)
            if not request.is_done:
                self._run(list(self._waiting.values()))
                self._waiting.clear()
                self._changed.notify_all()
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _all_wait(self) -> bool:
        return self._group <= self._waiting.keys()

    # ---- the thread that runs a stage for all, which all others wait for

    def _run(self, requests: Sequence[_Request]) -> None:
        alike: dict[tuple[str, Signature], list[_Request]] = {}
        for request in requests:
            alike.setdefault((request.stage, request.signature), []).append(request)
        for together in alike.values():
            while together:
                size = next(s for s in self.sizes if s >= min(len(together), self.sizes[-1]))
                now, together[:size] = together[:size], []
                self._run_as_one(now, size)

    def _run_as_one(self, requests: Sequence[_Request], size: int) -> None:
        self.calls += 1
        try:
            results = self._results(requests, size)
        except Exception as error:
            if len(requests) == 1:
                requests[0].error = error
                return
            for request in requests:  # Only the one that is to blame fails.
                self._run_as_one([request], 1)
            return
        for request, result in zip(requests, results, strict=True):
            request.result = result

    def _results(self, requests: Sequence[_Request], size: int) -> Sequence[Tensor]:
        first = requests[0]
        run = self._stages[first.stage]
        if size == 1:
            return [run(*first.args)]
        # Filled up with the last stream's rows, whose results nobody gets.
        filled = [*requests, *[requests[-1]] * (size - len(requests))]
        leaves = [tree_flatten(request.args)[0] for request in filled]
        structure = tree_flatten(first.args)[1]
        joined = [
            self._joined((first.stage, size, place), parts)
            for place, parts in enumerate(zip(*leaves, strict=True))
        ]
        result = run(*tree_unflatten(joined, structure))
        # Copies: engines and streams go on with their own memory.
        return [part.clone() for part in result.chunk(size)[: len(requests)]]

    def _joined(self, key: tuple[str, int, int], parts: tuple[Tensor | None, ...]) -> Tensor | None:
        """Return the rows of `parts` as one tensor: the same one as long as they are the same."""
        tensors = tuple(part for part in parts if part is not None)
        if not tensors:
            return None
        before = self._batches.get(key)
        if before and all(a is b for a, b in zip(before[0], tensors, strict=True)):
            return before[1]
        joined = torch.cat(tensors)
        self._batches[key] = (tensors, joined)
        return joined


def batch_sizes(streams: int) -> list[int]:
    """Return the numbers of streams that calls are made for: powers of two, and `streams`."""
    powers = [1 << i for i in range(streams.bit_length()) if 1 << i < streams]
    return [*powers, streams]
