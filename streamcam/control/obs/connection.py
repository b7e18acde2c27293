"""Connection to obs-websocket, version 5 of its protocol: requests, answers and events as JSON."""

import base64
import hashlib
import json
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count
from time import monotonic
from typing import Any, NamedTuple, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.sync.client import connect

from streamcam.errors import DeviceError, one_line
from streamcam.system.network import endpoint

HELLO, IDENTIFY, IDENTIFIED, EVENT, REQUEST, RESPONSE = 0, 1, 2, 5, 6, 7
"""Opcodes."""
RPC_VERSION = 1
GENERAL, SCENES, INPUTS, OUTPUTS = 1, 4, 8, 64
"""Groups of events."""
WRONG_PASSWORD = 4009
"""Code that OBS closes the connection with."""
NOT_READY = 207
"""Code of a refused request."""
CONNECT_S = 5.0
ANSWER_S = 5.0
MAX_MESSAGE = 1 << 22
SETTINGS = "Tools, WebSocket Server Settings"


class ObsError(DeviceError):
    """OBS cannot be reached, or does not answer."""


class UnreachableError(ObsError):
    """Nothing answers."""


class PasswordError(ObsError):
    """OBS refuses the password."""


class RequestError(ObsError):
    """OBS refuses a request; the connection stays."""


class NotReadyError(RequestError):
    """OBS is still starting, or ends."""


class Event(NamedTuple):
    """Something that has happened in OBS."""

    name: str
    values: Mapping[str, Any]


class ObsConnection:
    """One connection, for use by one thread.

    Args:
        host: name or address of the machine that OBS runs on.
        port: TCP port of its WebSocket server.
        password: empty where there is none.

    Raises:
        PasswordError: OBS refuses the password, or needs one.
        ObsError: nothing answers there, or something else does.
    """

    def __init__(self, host: str, port: int, password: str) -> None:
        self._where = endpoint(host, port)
        self._ids = count()
        self._events: deque[Event] = deque()
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(
                    f"ws://{self._where}",
                    open_timeout=CONNECT_S,
                    close_timeout=1.0,
                    max_size=MAX_MESSAGE,
                    # Never through a proxy: OBS is on this machine or next to it.
                    proxy=None,
                )
            )
        except InvalidHandshake as error:
            raise ObsError(self._not_obs()) from error
        except OSError as error:
            raise UnreachableError(self._unreachable(error)) from None
        try:
            self._identify(password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def request(self, name: str, **values: Any) -> Mapping[str, Any]:
        """Send a request and return the answer; events that come before it are kept.

        Raises:
            RequestError: OBS refuses it.
            ObsError: the connection is lost, or there is no answer.
        """
        number = str(next(self._ids))
        self._send(REQUEST, {"requestType": name, "requestId": number, "requestData": values})
        end = monotonic() + ANSWER_S
        while True:
            received = self._receive(end - monotonic())
            if received is None:
                raise ObsError(f"OBS at {self._where} does not answer")
            opcode, answer = received
            if opcode == EVENT:
                self._events.append(_event(answer))
            elif opcode == RESPONSE and answer.get("requestId") == number:
                status = answer.get("requestStatus") or {}
                if not status.get("result"):
                    reason = status.get("comment") or f"code {status.get('code')}"
                    kind = NotReadyError if status.get("code") == NOT_READY else RequestError
                    raise kind(f"OBS refuses {name}: {reason}")
                return answer.get("responseData") or {}

    def next_event(self, timeout_s: float) -> Event | None:
        """Return the next event, None if there is none within `timeout_s`.

        Raises:
            ObsError: the connection is lost.
        """
        if self._events:
            return self._events.popleft()
        received = self._receive(timeout_s)
        return _event(received[1]) if received and received[0] == EVENT else None

    def _identify(self, password: str) -> None:
        received = self._receive(CONNECT_S)
        if received is None or received[0] != HELLO:
            raise ObsError(self._not_obs())
        answer: dict[str, Any] = {
            "rpcVersion": RPC_VERSION,
            "eventSubscriptions": GENERAL | SCENES | INPUTS | OUTPUTS,
        }
        asked = received[1].get("authentication")
        if asked and not password:
            raise PasswordError(
                f"OBS at {self._where} needs a password: set STREAMCAM_OBS_PASSWORD to the one"
                f" in its {SETTINGS}"
            )
        if asked:
            answer["authentication"] = authentication(password, asked["salt"], asked["challenge"])
        self._send(IDENTIFY, answer)
        received = self._receive(CONNECT_S)
        if received is None or received[0] != IDENTIFIED:
            raise ObsError(f"OBS at {self._where} does not let streamcam in")

    def _send(self, opcode: int, values: Mapping[str, Any]) -> None:
        try:
            self._socket.send(json.dumps({"op": opcode, "d": values}))
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from None

    def _receive(self, timeout_s: float) -> tuple[int, Mapping[str, Any]] | None:
        try:
            received = json.loads(self._socket.recv(timeout=max(timeout_s, 0.0)))
            opcode, values = received["op"], received["d"]
        except TimeoutError:
            return None
        except (ConnectionClosed, OSError, WebSocketException) as error:
            raise self._lost(error) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ObsError(self._not_obs()) from None
        if not isinstance(values, dict):
            raise ObsError(self._not_obs())
        return opcode, values

    def _lost(self, error: Exception) -> ObsError:
        code = error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd else None
        if code == WRONG_PASSWORD:
            return PasswordError(
                f"OBS at {self._where} refuses the password: set STREAMCAM_OBS_PASSWORD to the"
                f" one in its {SETTINGS}"
            )
        return ObsError(f"OBS at {self._where} has gone")

    def _not_obs(self) -> str:
        return f"what answers at {self._where} is not OBS: set another port with --obs HOST:PORT"

    def _unreachable(self, error: OSError) -> str:
        reason = error.strerror or one_line(error)
        return (
            f"OBS cannot be reached at {self._where} ({reason}): start it, and enable the server"
            f" in its {SETTINGS}"
        )


def authentication(password: str, salt: str, challenge: str) -> str:
    """Return the answer to the challenge of OBS."""
    secret = base64.b64encode(hashlib.sha256((password + salt).encode()).digest())
    return base64.b64encode(hashlib.sha256(secret + challenge.encode()).digest()).decode()


def _event(values: Mapping[str, Any]) -> Event:
    return Event(str(values.get("eventType", "")), values.get("eventData") or {})
