"""A place for streams on a cluster, as the pool knows it: an actor that serves one engine."""

import re
import time
from typing import Any

from streamcam.runtime.cluster.engine_request import parse_request

RESERVED_S = 20.0
"""Seconds that a stream has to come to its place."""
SILENT_S = 1.5
"""Seconds without an answer after which no stream is sent to a place."""

CAUSE = re.compile(r"[\w.]*(Error|Exception|Timeout)\b.*: .")
"""Matches the line of a traceback that says what was raised."""


def root_cause(error: Exception) -> str:
    """Return, in one line, what an error of Ray says, without the stacks of several machines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if CAUSE.match(line)]
    text = (causes or lines or [type(error).__name__])[-1 if causes else 0]
    if "No module named 'streamcam" in text:
        return "streamcam is not installed on the node: install the same version on all of them"
    return text[:300]


class Place:
    """An actor, the newest state that it has reported, and the streams that are to come to it.

    Args:
        name: of the actor.
        actor: its handle.
        text: request for the engine that it serves.
        gpus: that it takes.

    Raises:
        ConfigError: the request makes no sense.
    """

    def __init__(self, name: str, actor: Any, text: str, gpus: float) -> None:
        self.name, self.actor, self.text, self.gpus = name, actor, text, gpus
        self.request = parse_request(text)
        self.engine = self.token = self.node = self.host = self.failure = ""
        self.is_spare = False
        """Whether it was made for streams to come, and not for one that asked."""
        self.is_ready = False
        """Whether its engine has loaded its model."""
        self.clients: dict[str, float] = {}
        """Frames a second of the streams that it has, by their names."""
        self._reserved: dict[str, float] = {}
        self._began = self._used_at = self._asked_at = time.monotonic()
        self._answer: Any = None
        self._was_silent = False

    @property
    def streams(self) -> set[str]:
        """Names of the streams that it has, and of those that are to come."""
        now = time.monotonic()
        self._reserved = {name: until for name, until in self._reserved.items() if until > now}
        return set(self.clients) | set(self._reserved)

    @property
    def free(self) -> int:
        """Number of streams that it has room for."""
        return self.request.streams - len(self.streams)

    def reserve(self, stream: str) -> None:
        """Keep room for a stream that is to come."""
        if stream not in self.clients:
            self._reserved[stream] = time.monotonic() + RESERVED_S

    @property
    def age_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self._began

    @property
    def idle_s(self) -> float:
        """Seconds for which nobody has used it."""
        if self.streams:
            self._used_at = time.monotonic()
        return time.monotonic() - self._used_at

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer, though it did."""
        waits = time.monotonic() - self._asked_at if self._answer is not None else 0.0
        return bool(self.node) and waits > SILENT_S

    def has_fallen_silent(self) -> bool:
        """Return True once, when it does not answer any more; its streams go elsewhere."""
        was, self._was_silent = self._was_silent, self.is_silent
        if self._was_silent:
            self.clients = {}
        return self._was_silent and not was

    def poll(self, standbys: list[dict[str, str]]) -> bool:
        """Take what it has answered, and ask for its state again; return whether it is there.

        Args:
            standbys: engines that its streams can go on with.
        """
        import ray

        if self.failure and not self.node:
            return True
        if self._answer is not None:
            ready, _ = ray.wait([self._answer], timeout=0)
            if not ready:
                return True
            try:
                self._take(ray.get(self._answer))
            except ray.exceptions.ActorUnavailableError:
                self._restarts()  # Ray starts it again.
            except ray.exceptions.RayError as error:
                if self.node:
                    return False
                # It cannot even begin: kept for a while, so that nobody tries again at once.
                self.failure = f"the engine cannot be started there: {root_cause(error)}"
                return True
        self._answer, self._asked_at = self.actor.status.remote(standbys), time.monotonic()
        return True

    def _take(self, state: dict[str, Any]) -> None:
        self.engine, self.token = state["engine"], state["token"]
        self.node, self.host = state["node"], state["host"]
        self.is_ready, self.failure = state["ready"], state["failure"]
        self.clients = state["clients"]
        for name in self.clients:
            self._reserved.pop(name, None)

    def _restarts(self) -> None:
        self.engine = self.node = ""
        self.is_ready, self.clients = False, {}
        self._began = time.monotonic()

    def report(self) -> dict[str, Any]:
        """Return its state for people."""
        state = "running" if self.is_ready else "loading" if self.engine else "starting"
        if self.is_silent:
            state = "silent"
        return {
            "name": self.name,
            "state": self.failure or state,
            "node": self.node,
            "host": self.host,
            "engine": self.engine,
            "model": self.request.config.model,
            "size": f"{self.request.config.width}x{self.request.config.height}",
            "gpus": self.gpus,
            "cpus": self.request.cpus,
            "room": self.request.streams,
            "streams": {name: self.clients.get(name, 0.0) for name in sorted(self.streams)},
        }
