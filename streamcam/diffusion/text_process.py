"""Encode texts in another process, so that loading what encodes them holds up no frame.

In the process that computes frames its imports would hold Python's lock for seconds.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from streamcam.diffusion.stages import Text
from streamcam.errors import ModelError, one_line
from streamcam.settings.config import Config
from streamcam.system.child_process import end_with_parent, prefer_as_oom_victim, start_child
from streamcam.system.supervised_thread import SupervisedThread

MAIN = "streamcam.diffusion.text_process:serve"
NICENESS = 3
"""Added to that of the engine: a prompt that was asked for should not wait for long."""
OOM_SCORE = 250
"""Above that of the engine, which runs on without new prompts."""


class TextProcess:
    """Encodes texts in the order in which they are asked for; none of its methods waits.

    Args:
        config: names the model.
        on_encoded: called from a thread with each text, and its embeddings or the reason why
            there are none.
        main: the child's main function, as for `start_child`.
    """

    def __init__(
        self,
        config: Config,
        on_encoded: Callable[[str, Text | ModelError], None],
        main: str = MAIN,
    ) -> None:
        self.is_loaded = False
        """Whether it has loaded the model, or has failed to."""
        self._config = config
        self._on_encoded = on_encoded
        self._main = main
        self._asked: Queue[str] = Queue()
        self._process: subprocess.Popen[str] | None = None
        self._thread: SupervisedThread | None = None
        self._delay_s = 0.0

    def start(self, delay_s: float = 0.0) -> None:
        """Begin to load the model, after so many seconds or when a text is asked for."""
        if self._thread is None:
            self._delay_s = delay_s
            thread = SupervisedThread("text encoder", self._run, threading.Event())
            thread.start()
            self._thread = thread

    def encode(self, text: str) -> None:
        """Ask for the embeddings of `text`.

        Raises:
            StreamcamError: no thread can be started.
        """
        self._asked.put(text)
        self.start()

    def _run(self) -> None:
        text: str | None = None
        try:
            text = self._asked.get(timeout=self._delay_s)
        except Empty:
            # It loads the model now, to be ready when it is needed, and answers once it has. A
            # failure is that of the text that is asked for.
            with suppress(Exception):
                self._encoded("")
            self.is_loaded = True
        while True:
            text = self._asked.get() if text is None else text
            try:
                result: Text | ModelError = self._encoded(text)
            except Exception as error:  # Without an answer the stream would go on waiting.
                result = ModelError(one_line(error))
            self.is_loaded = True
            self._on_encoded(text, result)
            text = None

    def _encoded(self, text: str) -> Text:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start_child()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(text)}\n")
        process.stdin.flush()
        reply = process.stdout.readline()
        if not reply:
            raise ModelError(f"the process that encodes texts ended with status {process.wait()}")
        return decoded(json.loads(reply))

    def _start_child(self) -> subprocess.Popen[str]:
        config = self._config.model_dump_json()
        self._process = start_child(
            self._main, config, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._process


def decoded(answer: dict[str, Any]) -> Text:
    """Return the text in an answer of the child process.

    Raises:
        ModelError: it cannot be encoded.
    """
    if "error" in answer:
        raise ModelError(answer["error"])
    tensors = load(base64.b64decode(answer["tensors"]))
    return Text(tensors["embeds"], tensors.get("pooled"), **answer["notes"])


def serve() -> None:
    """Run as the child process: settings, then texts, as lines of JSON; a line for each text.

    It ends with its input, and so with its parent.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    prefer_as_oom_victim(OOM_SCORE)
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    config = Config.model_validate_json(sys.stdin.readline())
    asked: Queue[str | None] = Queue()

    def read() -> None:
        for line in sys.stdin:
            asked.put(line)
        asked.put(None)

    end_with_parent(read, status=0)  # While the model is loaded too.
    try:
        encode: Callable[[str], Text] = _text_encoder(config)
    except Exception as error:  # The answer to each text that is asked for.
        encode = _failing(one_line(error))
    for line in iter(asked.get, None):
        print(json.dumps(_answer(encode, json.loads(line))), file=answers, flush=True)


def _text_encoder(config: Config) -> Callable[[str], Text]:
    from streamcam.diffusion.text_encoding import encode_text, text_encoders
    from streamcam.engines.placement import place
    from streamcam.models.checkpoint import load_pipeline
    from streamcam.models.prompt_reader import load_prompt_reader

    placement = place(config)
    pipe = load_pipeline(config, placement.weights_dtype, lambda _: None)
    reader = load_prompt_reader(config.model, pipe.unet)
    for encoder in text_encoders(pipe):
        encoder.to(placement.device).eval().requires_grad_(False)
    # The rest has been checked, and is not needed.
    pipe.register_modules(unet=None, vae=None)

    def encode(text: str) -> Text:
        with torch.inference_mode():
            return encode_text(
                pipe,
                text,
                placement.device,
                lambda _: None,
                reader,
                syntax=config.prompt_syntax,
                chunks=config.prompt_chunks,
            )

    return encode


def _failing(reason: str) -> Callable[[str], Text]:
    def fail(_text: str) -> Text:
        raise ModelError(reason)

    return fail


def _answer(encode: Callable[[str], Text], text: str) -> dict[str, Any]:
    try:
        encoded = encode(text)
    except Exception as error:
        return {"error": one_line(error)}
    tensors: dict[str, Tensor] = {"embeds": encoded.prompt_embeds}
    if encoded.pooled_prompt_embeds is not None:
        tensors["pooled"] = encoded.pooled_prompt_embeds
    plain = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    return {
        "tensors": base64.b64encode(save(plain)).decode(),
        "notes": {
            "dropped_tokens": encoded.dropped_tokens,
            "understood_as": encoded.understood_as,
            "chunks": encoded.chunks,
            "remarks": encoded.remarks,
        },
    }
