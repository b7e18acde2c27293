import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from websockets.sync.server import ServerConnection

from streamcam.control.messages import Message
from streamcam.control.obs import obs_link
from streamcam.system.backoff import Backoff
from tests.control.obs.fake_obs import FakeObs
from tests.control.obs.linked import linked
from tests.control.osc.running_server import STATUS


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for longer than a test should."""
    monkeypatch.setenv("STREAMCAM_OBS_PASSWORD", "")
    monkeypatch.setenv("HOME", "/no/such/folder")
    monkeypatch.setattr(obs_link, "POLL_S", 0.01)
    monkeypatch.setattr(obs_link, "LATENCY_PERIOD_S", 0.01)
    monkeypatch.setattr(obs_link, "PASSWORD_PAUSE_S", 0.02)
    monkeypatch.setattr(obs_link, "Backoff", lambda **_: Backoff(0.02, 0.02))


@pytest.fixture
def obs() -> Iterator[FakeObs]:
    with FakeObs().running() as obs:
        yield obs


def where(obs: FakeObs) -> str:
    return f"127.0.0.1:{obs.port}"


def wait_until_connected(obs: FakeObs) -> None:
    obs.wait_for("GetCurrentProgramScene")


def test_the_sync_offset_follows_the_latency_and_is_given_back(obs: FakeObs) -> None:
    with linked(where(obs), obs_audio="Mic/Aux", obs_audio_extra=5) as link:
        assert obs.wait_for("SetInputAudioSyncOffset") == {
            "inputName": "Mic/Aux",
            "inputAudioSyncOffset": 130,
        }
        # While the engine is away, the latency is that of the camera alone.
        link.status = replace(STATUS, state="lost", latency_p50=0.02)
        obs.wait_for("GetStreamStatus")
        assert obs.offsets == {"Mic/Aux": 130, "Desktop Audio": 0}
    assert obs.offsets == {"Mic/Aux": 20, "Desktop Audio": 0}


def test_an_offset_that_somebody_else_has_set_is_left_alone(obs: FakeObs) -> None:
    with linked(where(obs), obs_audio="Mic/Aux"):
        obs.wait_for("SetInputAudioSyncOffset")
        obs.offsets["Mic/Aux"] = 333
    assert obs.offsets["Mic/Aux"] == 333


def test_an_unknown_source_is_reported_once_with_those_that_there_are(obs: FakeObs) -> None:
    with linked(where(obs), obs_audio="Mike") as link:
        obs.wait_for("GetInputAudioSyncOffset", count=8)
        line = link.reports.get(timeout=5)
        assert line == 'OBS has no audio source "Mike" (there are Mic/Aux, Desktop Audio)'
        assert link.reports.empty()
        # Where it appears, it is taken.
        obs.offsets["Mike"] = 0
        assert obs.wait_for("SetInputAudioSyncOffset")["inputName"] == "Mike"


def test_a_scene_recalls_the_preset_of_its_name_or_the_one_that_is_set(obs: FakeObs) -> None:
    scenes = {"Talk": "pencil", "Quiet": "", "Still Scene": "no-such", "Opening": "cue:First"}
    with linked(where(obs), obs_scenes=scenes) as link:
        assert "no audio is delayed" in link.reports.get(timeout=5)
        for scene in ("Talk", "Unknown", "Neon", "Quiet", "Opening", "Still Scene"):
            obs.switch(scene)
        sent = [link.surface.applied.get(timeout=5) for _ in range(4)]
        assert sent == [
            Message("/streamcam/preset/load", ("pencil",)),
            Message("/streamcam/preset/load", ("neon",)),
            Message("/streamcam/cue/jump", ("First",)),
            Message("/streamcam/preset/load", ("no-such",)),
        ]
        assert link.surface.control.preset == "neon"
        assert 'OBS scene "Opening" recalls nothing' in link.reports.get(timeout=5)
        line = link.reports.get(timeout=5)
        assert line.startswith('OBS scene "Still Scene" recalls nothing: ')
        assert '/streamcam/preset/load has no "no-such"' in line


def test_whether_obs_is_live_is_shown_and_scenes_can_be_switched(obs: FakeObs) -> None:
    with linked(where(obs)) as link:
        link.wait_until("idle")
        assert link.value("obs/live") == (False,)
        assert link.value("obs/scene") == ("Start",)
        obs.event("StreamStateChanged", outputActive=True)
        link.wait_until("live")
        assert link.value("obs/live") == (True,)
        assert "only read" in link.send("obs/live", 0).refused[0][1]
        link.send("obs/scene", "Neon")
        assert obs.wait_for("SetCurrentProgramScene") == {"sceneName": "Neon"}
        obs.event("StreamStateChanged", outputActive=False)
        obs.event("RecordStateChanged", outputActive=True)
        link.wait_until("recording")
        assert link.value("obs/scene") == ("Neon",)


def test_a_wrong_password_is_reported_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAMCAM_OBS_PASSWORD", "wrong")
    with FakeObs(password="right").running() as obs, linked(where(obs)) as link:
        line = link.reports.get(timeout=5)
        assert "refuses the password: set STREAMCAM_OBS_PASSWORD" in line
        assert link.state == "not connected"
        monkeypatch.setenv("STREAMCAM_OBS_PASSWORD", "right")
        wait_until_connected(obs)
        assert "name a source: --set obs_audio=NAME" in link.reports.get(timeout=5)
        assert link.reports.get(timeout=5) == "OBS is connected"


def test_a_password_that_is_needed_is_asked_for() -> None:
    with FakeObs(password="right").running() as obs, linked(where(obs)) as link:
        assert "needs a password" in link.reports.get(timeout=5)


def test_an_obs_that_restarts_is_reported_once_and_found_again() -> None:
    first = FakeObs()
    with first.running(), linked(where(first), obs_audio="Mic/Aux") as link:
        first.wait_for("SetInputAudioSyncOffset")
        first.crash()
        assert link.reports.get(timeout=5) == f"OBS at {where(first)} has gone"
        assert link.value("obs/live") == ()
        again = FakeObs(port=first.port)
        again.scene = "Neon"
        again.is_ready = False
        with again.running():
            again.wait_for("GetStreamStatus", count=2)
            again.is_ready = True
            assert link.reports.get(timeout=5) == "OBS is connected"
            assert again.wait_for("SetInputAudioSyncOffset")["inputAudioSyncOffset"] == 125
            # It was switched while nobody looked.
            loaded = link.surface.applied.get(timeout=5)
            assert loaded == Message("/streamcam/preset/load", ("neon",))
            assert link.reports.empty()


def test_one_that_is_not_there_is_reported_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with linked(f"127.0.0.1:{port}") as link:
        line = link.reports.get(timeout=5)
        assert line.startswith(f"OBS cannot be reached at 127.0.0.1:{port} (Connection refused)")
        assert "Tools, WebSocket Server Settings" in line
        outcome = link.send("obs/scene", "Neon")
        assert outcome.refused == [("/streamcam/obs/scene", "OBS is not connected")]
        assert link.reports.empty()


class Other(FakeObs):
    """Another program that serves a WebSocket."""

    def _serve(self, connection: ServerConnection) -> None:
        connection.send('["hello"]')


def test_another_program_at_the_port_is_reported() -> None:
    with Other().running() as other, linked(where(other)) as link:
        assert "is not OBS" in link.reports.get(timeout=5)
