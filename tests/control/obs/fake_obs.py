"""OBS as its WebSocket protocol shows it, on a real WebSocket server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from streamcam.control.obs.connection import authentication

SALT, CHALLENGE = "c2FsdA==", "Y2hhbGxlbmdl"


class FakeObs:
    """State of an OBS, changed by requests and by tests."""

    def __init__(self, password: str = "", port: int = 0) -> None:
        self.port = port
        self.password = password
        self.scene = "Start"
        self.streaming = False
        self.offsets = {"Mic/Aux": 20, "Desktop Audio": 0}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.is_ready = True
        self._connections: set[ServerConnection] = set()
        self._changed = threading.Condition()

    @contextmanager
    def running(self) -> Iterator["FakeObs"]:
        with serve(self._serve, "127.0.0.1", self.port, close_timeout=0.2) as server:
            self._server = server
            self.port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                self.crash()
                thread.join()

    def crash(self) -> None:
        """End without a word; the port is free then."""
        for connection in list(self._connections):
            connection.close_socket()
        self._server.shutdown()

    def event(self, name: str, **values: Any) -> None:
        """Report `name` to everybody who is connected."""
        message = {"op": 5, "d": {"eventType": name, "eventData": values}}
        for connection in list(self._connections):
            connection.send(json.dumps(message))

    def switch(self, scene: str) -> None:
        self.scene = scene
        self.event("CurrentProgramSceneChanged", sceneName=scene)

    def wait_for(self, name: str, count: int = 1) -> dict[str, Any]:
        """Return the data of the newest of `count` requests of that name."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received(name)) >= count, 10), name
            return self.received(name)[-1]

    def received(self, name: str) -> list[dict[str, Any]]:
        """Return the data of the requests of that name so far."""
        return [values for sent, values in self.requests if sent == name]

    def _serve(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            hello: dict[str, Any] = {"obsWebSocketVersion": "5.5.0", "rpcVersion": 1}
            if self.password:
                hello["authentication"] = {"salt": SALT, "challenge": CHALLENGE}
            connection.send(json.dumps({"op": 0, "d": hello}))
            identify = json.loads(connection.recv(timeout=5))
            expected = authentication(self.password, SALT, CHALLENGE)
            if self.password and identify["d"].get("authentication") != expected:
                connection.close(4009, "Authentication failed.")
                return
            connection.send(json.dumps({"op": 2, "d": {"negotiatedRpcVersion": 1}}))
            self._connections.add(connection)
            try:
                for received in connection:
                    self._answer(connection, json.loads(received)["d"])
            finally:
                self._connections.discard(connection)

    def _answer(self, connection: ServerConnection, asked: dict[str, Any]) -> None:
        name, values = asked["requestType"], asked.get("requestData") or {}
        code, answer = self._result(name, values)
        status = {"result": code == 100, "code": code}
        if code != 100:
            status["comment"] = "No source was found by that name."
        response = {"requestType": name, "requestId": asked["requestId"]}
        response |= {"requestStatus": status, "responseData": answer}
        connection.send(json.dumps({"op": 7, "d": response}))
        with self._changed:
            self.requests.append((name, values))
            self._changed.notify_all()

    def _result(self, name: str, values: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        source = values.get("inputName")
        if not self.is_ready:
            return 207, {}
        if source is not None and source not in self.offsets:
            return 600, {}
        if name == "SetCurrentProgramScene":
            self.switch(values["sceneName"])
        elif name == "SetInputAudioSyncOffset":
            self.offsets[str(source)] = values["inputAudioSyncOffset"]
        answers: dict[str, dict[str, Any]] = {
            "GetStreamStatus": {"outputActive": self.streaming},
            "GetRecordStatus": {"outputActive": False},
            "GetCurrentProgramScene": {"currentProgramSceneName": self.scene},
            "GetInputList": {"inputs": [{"inputName": name} for name in [*self.offsets, "Image"]]},
            "GetInputAudioSyncOffset": {"inputAudioSyncOffset": self.offsets.get(str(source))},
        }
        return 100, answers.get(name, {})
