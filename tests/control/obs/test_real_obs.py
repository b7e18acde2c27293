"""The link with a real OBS Studio on a virtual screen."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import psutil
import pytest

from streamcam.control.messages import Message
from streamcam.control.obs.connection import ObsConnection, ObsError
from streamcam.control.obs.server_settings import read_server_settings
from tests.clients.obs import GLOBAL, PROFILE
from tests.control.obs.linked import linked

PROGRAMS = ("obs", "Xvfb")
PASSWORD = "open sesame"
SERVER = """
[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort={port}
AuthRequired=true
ServerPassword={password}
AlertsEnabled=false
"""
BEFORE_MS = 20

pytestmark = [
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}"
    ),
    pytest.mark.timeout(180),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def configure(home: Path, port: int) -> None:
    """Write the settings of an OBS with two scenes and one source of audio."""
    scenes = [
        {"id": "scene", "versioned_id": "scene", "name": name, "enabled": True, "settings": {}}
        for name in ("Start", "Neon")
    ]
    scenes[0]["settings"] = {"id_counter": 1, "items": [{"name": "Mic", "id": 1, "visible": True}]}
    kind = "ffmpeg_source"
    source = {"id": kind, "versioned_id": kind, "name": "Mic", "enabled": True, "settings": {}}
    collection = {
        "name": "streamcam",
        "current_scene": "Start",
        "current_program_scene": "Start",
        "scene_order": [{"name": "Start"}, {"name": "Neon"}],
        "sources": [source | {"sync": BEFORE_MS * 1_000_000}, *scenes],
    }
    files = {
        "global.ini": GLOBAL + SERVER.format(port=port, password=PASSWORD),
        "basic/profiles/streamcam/basic.ini": PROFILE,
        "basic/scenes/streamcam.json": json.dumps(collection),
    }
    for name, text in files.items():
        path = home / ".config" / "obs-studio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def screen() -> Iterator[str]:
    """Run a virtual screen; yield its name."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    quiet = {"stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **quiet) as process:
        assert process.stdout is not None
        try:
            yield f":{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@contextmanager
def running_obs(home: Path, display: str) -> Iterator[None]:
    """Run OBS until the end of the block."""
    own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "DISPLAY": display}
    environment = os.environ | own | {"LIBGL_ALWAYS_SOFTWARE": "1", "QT_QPA_PLATFORM": "xcb"}
    environment.pop("XDG_CONFIG_HOME", None)
    choice = ["--collection", "streamcam", "--profile", "streamcam", "--scene", "Start", "--multi"]
    with (home / "obs.log").open("ab") as log:
        options = {"env": environment, "stdout": log, "stderr": log}
        with subprocess.Popen(["obs", *choice], **options) as process:  # type: ignore[call-overload]
            try:
                yield
            finally:
                process.kill()


def receive_stream(url: str) -> None:
    """Be the server that OBS streams to."""
    with suppress(av.FFmpegError), av.open(url, options={"listen": "1"}, timeout=60) as stream:
        for _ in stream.demux():
            pass


def wait_for_listener(port: int) -> None:
    """Wait until this process listens at `port`; a connection would be taken for OBS's."""
    end = time.monotonic() + 10
    process = psutil.Process()
    while port not in {c.laddr.port for c in process.net_connections("tcp")}:
        assert time.monotonic() < end, "no server for streams"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("obs")
    configure(home, free_port())
    return home


def test_obs_studio_is_followed_through_a_show(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    # From the files of OBS.
    port, password = read_server_settings()
    assert password == PASSWORD
    monkeypatch.setenv("STREAMCAM_OBS_PASSWORD", "")
    with screen() as display, linked("localhost", obs_audio="Mic") as link:
        assert "cannot be reached at localhost" in link.reports.get(timeout=10)
        with running_obs(home, display):
            assert link.reports.get(timeout=60) == "OBS is connected"
            with pytest.raises(ObsError, match="refuses the password"):
                ObsConnection("127.0.0.1", port, "wrong")
            with ObsConnection("127.0.0.1", port, password) as operator:
                # The latency of the status is 125 ms.
                while offset_of(operator) == BEFORE_MS:
                    assert operator.next_event(10) is not None
                assert offset_of(operator) == 125
                operator.request("SetCurrentProgramScene", sceneName="Neon")
                loaded = link.surface.applied.get(timeout=10)
                assert loaded == Message("/streamcam/preset/load", ("neon",))
                assert link.surface.control.preset == "neon"
                go_live(operator)
                link.wait_until("live", timeout_s=20)
                operator.request("StopStream")
                link.wait_until("idle", timeout_s=20)
        assert "has gone" in link.reports.get(timeout=10)
        link.wait_until("not connected")
        with running_obs(home, display):
            assert link.reports.get(timeout=60) == "OBS is connected"
            assert link.reports.empty()


def offset_of(obs: ObsConnection) -> int:
    return int(obs.request("GetInputAudioSyncOffset", inputName="Mic")["inputAudioSyncOffset"])


def go_live(obs: ObsConnection) -> None:
    """Let OBS stream to a server in this process."""
    port = free_port()
    server = f"rtmp://127.0.0.1:{port}/live"
    threading.Thread(target=receive_stream, args=(f"{server}/x",), daemon=True).start()
    wait_for_listener(port)
    settings = {"server": server, "key": "x"}
    obs.request(
        "SetStreamServiceSettings",
        streamServiceType="rtmp_custom",
        streamServiceSettings=settings,
    )
    obs.request("StartStream")
