"""Ask the pool of engines on a Ray cluster something, through a child process.

Ray takes a second to import and seconds to connect, starts threads and writes to the terminal: all
that ends with the child, and none of it is in a process that frames pass through.
"""

import json
import socket
import subprocess
from importlib.util import find_spec
from threading import Timer
from typing import Any

from streamcam.errors import ConfigError, EngineError
from streamcam.runtime.remote.engine_connection import check_package
from streamcam.settings.broadcast_settings import RAY
from streamcam.system.child_process import start_child
from streamcam.system.network import parse_endpoint

RAY_CLIENT_PORT = 10001
THIS_MACHINE = f"{RAY}auto"
"""Address of the cluster that this machine belongs to."""
PROBE_S = 3.0
ASK_S = 60.0
"""Seconds for an answer: Ray starts a process on the cluster for each connection."""
MAIN = "streamcam.runtime.cluster.pool_query:main"


def check_cluster(address: str) -> None:
    """Raise an error where packages are missing, or nobody listens at ``ray://HOST:PORT``.

    Raises:
        ConfigError: a package is missing.
        EngineError: nobody listens there.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            'a Ray cluster needs the extra "cluster": pip install "streamcam[cluster]"'
        )
    check_package()
    if address == THIS_MACHINE:
        return
    host, port = parse_endpoint(address.removeprefix(RAY), default_port=RAY_CLIENT_PORT)
    try:
        socket.create_connection((host, port), PROBE_S).close()
    except OSError as error:
        raise EngineError(
            f'no Ray cluster at {address}: {error.strerror or error}; is "ray start --head" running'
            f" there, and TCP port {port} open?"
        ) from None


def ask_pool(address: str, call: str, *arguments: Any) -> Any:
    """Return the answer of a method of `EnginePool` on the cluster at `address`.

    Raises:
        EngineError: the cluster cannot be reached, or does not answer.
    """
    request = json.dumps({"address": address, "call": call, "arguments": arguments})
    child = start_child(MAIN, request, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with child:
        assert child.stdout is not None
        try:
            # Its input stays open until it has ended, so that it ends with this process.
            text = _read(child)
        finally:
            child.kill()
    try:
        answer = json.loads(text)
    except ValueError:
        raise EngineError(f"the Ray cluster at {address} gives no answer") from None
    if "error" in answer:
        raise EngineError(f"the Ray cluster at {address}: {answer['error']}")
    return answer["result"]


def _read(child: "subprocess.Popen[str]") -> str:
    """Return the line that `child` writes; empty if it takes too long."""
    assert child.stdout is not None
    watch = Timer(ASK_S, child.kill)
    watch.daemon = True
    watch.start()
    try:
        return child.stdout.readline()
    finally:
        watch.cancel()
