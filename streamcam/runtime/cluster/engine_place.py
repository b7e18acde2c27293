"""Ray actor that serves one engine on its node, to the performers that the pool sends there."""

import asyncio
import logging
import os
import secrets
import tempfile
import threading
import time
from typing import Any

from streamcam.errors import StreamcamError, one_line
from streamcam.runtime.cluster.engine_request import parse_request
from streamcam.runtime.remote.engine_server import EngineServer
from streamcam.runtime.startup_check import check_startup
from streamcam.system.network import endpoint
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)


class EnginePlace:
    """Serves the engine that `request` asks for, by the same server as ``streamcam serve``.

    When Ray starts it again, it has another address and another token, which the pool asks for.
    """

    def __init__(self, request: str) -> None:
        import ray

        # A name that could be a path finds nothing here.
        os.chdir(tempfile.mkdtemp(prefix="streamcam-place-"))
        self._request = request
        self._node = ray.get_runtime_context().get_node_id()
        self._host = ray.util.get_node_ip_address()
        self._token = secrets.token_urlsafe(24)
        self._engine = ""
        self._failure = ""
        self._server: EngineServer | None = None
        self._loop = asyncio.new_event_loop()
        self._standbys: list[dict[str, str]] = []
        self._counted_at, self._counts = time.monotonic(), dict[str, int]()
        self._fps: dict[str, float] = {}
        self._stopping = threading.Event()
        self.serving = SupervisedThread(
            "serve", self._serve, self._stopping, on_error=self._end_with
        )
        self.serving.start()

    def request(self) -> str:
        """Return what it was made for."""
        return self._request

    def status(self, standbys: list[dict[str, str]]) -> dict[str, Any]:
        """Return its state; `standbys` are the engines that its clients are to go on with."""
        server = self._server
        if server and standbys != self._standbys:
            self._standbys = standbys
            self._loop.call_soon_threadsafe(server.name_standbys, standbys)
        return {
            "node": self._node,
            "host": self._host,
            "engine": self._engine,
            "token": self._token,
            "ready": bool(server and server.is_ready),
            "failure": self._failure,
            "clients": self._rates(server.frames_taken() if server else {}),
        }

    def _rates(self, counts: dict[str, int]) -> dict[str, float]:
        """Return the frames a second of each client, over the last second or more."""
        now = time.monotonic()
        if (passed := now - self._counted_at) >= 1:
            self._fps = {
                name: round(max(0, n - self._counts.get(name, n)) / passed, 1)
                for name, n in counts.items()
            }
            self._counted_at, self._counts = now, counts
        return {name: self._fps.get(name, 0.0) for name in counts}

    def _serve(self) -> None:
        request = parse_request(self._request)
        check_startup(request.config)
        streams = request.streams
        self._server = EngineServer(request.config, self._token, streams, streams)
        self._loop.run_until_complete(self._server.run(self._host, 0, self._set_port))

    def _end_with(self, error: BaseException) -> None:
        self._stopping.set()
        if self._engine:
            log.error("the engine at %s is served no longer", self._engine, exc_info=error)
            os._exit(1)  # Ray starts it again, at another address.
        is_ours = isinstance(error, StreamcamError)
        self._failure = str(error) if is_ours else f"the engine cannot be served: {one_line(error)}"

    def _set_port(self, port: int) -> None:
        self._engine = endpoint(self._host, port)
