"""Child process that asks the pool of engines on a Ray cluster one thing; see `pool_client`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from streamcam.runtime.cluster.engine_pool import NAMESPACE, POOL, start_pool
from streamcam.runtime.cluster.pool_place import root_cause
from streamcam.settings.broadcast_settings import RAY
from streamcam.system.child_process import end_with_parent

ANSWER_S = 20.0
WAIT_S, AGAIN_S = 35.0, 0.2
"""Seconds in which an engine is waited for, and from one question to the next."""


def main() -> None:
    """Read a request as a line of JSON, and write the answer as one."""
    request = json.loads(sys.stdin.readline())
    end_with_parent(sys.stdin.read, status=0)
    # Ray writes to the standard output too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        answer = {"result": _ask(request["address"], request["call"], request["arguments"])}
    except Exception as error:
        answer = {"error": root_cause(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    os._exit(0)  # Ray takes half a second to end.


def _ask(address: str, call: str, arguments: list[Any]) -> Any:
    _show_token()
    import ray

    ray.init(
        "auto" if address == f"{RAY}auto" else address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
    )
    if call in ("status", "stop"):
        try:
            pool = ray.get_actor(POOL)
        except ValueError:
            return None  # Nobody has asked for an engine so far.
    else:
        pool = start_pool()
    result = ray.get(getattr(pool, call).remote(*arguments), timeout=ANSWER_S)
    end = time.monotonic() + WAIT_S
    while isinstance(result, dict) and "wait" in result and time.monotonic() < end:
        time.sleep(AGAIN_S)
        result = ray.get(getattr(pool, call).remote(*arguments), timeout=ANSWER_S)
    if call == "stop":
        ray.kill(pool)
    return result


def _show_token() -> None:
    """Let Ray show its token where this user has one: some versions ask for it unasked."""
    named = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if any(name in os.environ for name in named) or (Path.home() / ".ray/auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
