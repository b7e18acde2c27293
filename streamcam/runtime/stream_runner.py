"""Run a stream with the newest parameters that it accepts."""

import time
from collections.abc import Callable, Sequence

from streamcam.errors import PromptError
from streamcam.pipelines import LoadedStream
from streamcam.runtime.engine_message import EngineMessage
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

LEAST_ENCODING_S = 0.005
"""Seconds that are worth a report; a prompt that was encoded before takes less."""


class StreamRunner:
    """Runs a stream with the newest parameters that it accepts, and reports those that it refuses.

    Args:
        stream: raises PromptError over parameters that it refuses, and has changed nothing then.
        parameters: the first ones, that the stream has been warmed up with.
        send: takes messages to the broadcast process.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        stream: LoadedStream,
        parameters: Parameters,
        send: Callable[[EngineMessage], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._stream, self._send = stream, send
        self._parameters, self._version = parameters, 0
        self._refused: int | None = None
        self._noticed = EngineMessage("notice")
        self._usual_s = 0.0

    def run(self, frame: Frame, parameters: Parameters, version: int) -> Sequence[Frame]:
        """Return the outputs for `frame`, with `parameters` unless they are refused."""
        if version != self._refused:
            began, new_texts = self._clock(), _texts(parameters) - _texts(self._parameters)
            try:
                outputs = self._stream(frame, parameters)
            except PromptError as error:
                self._refused = version
                self._send(
                    EngineMessage(
                        "refused", str(error), refused_text=error.text, version=self._version
                    )
                )
            else:
                self._parameters, self._version = parameters, version
                self._report_encoding(self._clock() - began, new_texts)
                self._report_notice()
                return outputs
        return self._stream(frame, self._parameters)

    def _report_encoding(self, took_s: float, new_texts: set[str]) -> None:
        """Report by how much a call with new prompts took longer than the one before it."""
        longer_s = took_s - self._usual_s
        if not new_texts:
            self._usual_s = took_s
        elif longer_s >= LEAST_ENCODING_S:
            self._send(EngineMessage("encoded", encoding_s=longer_s))

    def _report_notice(self) -> None:
        texts = tuple(sorted(_texts(self._parameters)))
        notice = EngineMessage("notice", self._stream.notice, texts=texts)
        if notice != self._noticed:
            self._noticed = notice
            self._send(notice)


def _texts(parameters: Parameters) -> set[str]:
    """Return the texts of the prompt that have a weight."""
    return {text for text, weight in parameters.prompt if weight}
