"""Server of engines that return every frame, in a thread of the tests."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streamcam.runtime.engine_worker import IDENTITY
from streamcam.runtime.remote.engine_server import EngineServer
from streamcam.settings.config_layers import build_config

TOKEN = "the-token-of-the-tests"
SIZE = {"width": 64, "height": 48}
LIVE = {"guidance_scale": 3.0, "faders": {"strength": 0.5}}
SERVED = build_config([{"model": IDENTITY, **SIZE, **LIVE, "canvas": "64x48"}])


@contextmanager
def served(clients: int, together: int) -> Iterator[int]:
    """Yield the port of a server."""
    ready: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        server = EngineServer(SERVED, TOKEN, clients, together)
        tasks.append(asyncio.ensure_future(server.run("127.0.0.1", 0, ready.put_nowait)))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    yield asyncio.run_coroutine_threadsafe(ready.get(), loop).result(30)
    loop.call_soon_threadsafe(tasks[0].cancel)
    thread.join(10)
    loop.close()
