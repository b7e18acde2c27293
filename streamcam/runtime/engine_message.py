"""Messages from the engine process to the broadcast process."""

import threading
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple


class EngineMessage(NamedTuple):
    """Message from the engine process to the broadcast process."""

    kind: Literal[
        "log",
        "notice",
        "schedule",
        "encoded",
        "ready",
        "refused",
        "failed",
        "crashed",
        "lost",
        "moved",
    ]
    text: str = ""
    """The log line, the notice, the schedule in one line, the error, or the traceback."""
    exit_code: int = 0
    """Of an error: what the command exits with; 0 where the network is to blame."""
    warmup_s: float = 0.0
    """Seconds that the first calls of the model took."""
    encoding_s: float = 0.0
    """Seconds by which a new prompt made the call longer that took it up."""
    accepts_any_size: bool = False
    """Whether frames are to be sent unresized: the engine's device fits them."""
    gpu: str = ""
    """UUID of the NVIDIA GPU that the engine runs on."""
    refused_text: str = ""
    """The prompt that the model cannot encode."""
    version: int = 0
    """Version of the parameters that the engine runs on with instead."""
    texts: tuple[str, ...] = ()
    """The prompts that a notice is about: those that the model has read."""


class MessageSender:
    """Sends messages from any thread: a long one goes out in parts, which must not mix."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, message: EngineMessage) -> None:
        """Send `message`; raise OSError where the broadcast process is gone."""
        with self._lock:
            self._connection.send(message)
