"""Link to OBS: audio follows the latency, scenes recall presets and cues, its state is shown."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event as ThreadEvent
from time import monotonic
from typing import Self

from streamcam.control.messages import Argument, Message
from streamcam.control.obs.audio_sources import AudioSources
from streamcam.control.obs.connection import (
    Event,
    NotReadyError,
    ObsConnection,
    ObsError,
    PasswordError,
    RequestError,
    UnreachableError,
)
from streamcam.control.obs.server_settings import ServerSettings, read_server_settings
from streamcam.control.obs.sync_offset import SyncOffset
from streamcam.control.surface import ControlSurface
from streamcam.control.values import parse_text
from streamcam.errors import ParameterError, printable
from streamcam.settings.environment import obs_password
from streamcam.stats import Status
from streamcam.system.backoff import Backoff
from streamcam.system.network import parse_endpoint
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Seconds between two looks for what is to be sent to OBS."""
LATENCY_PERIOD_S = 1.0
PASSWORD_PAUSE_S = 10.0
"""Seconds between two tries with a password that is refused."""
STOP_S = 0.8
LOCAL = ("localhost", "127.0.0.1", "::1")
NOT_CONNECTED, LIVE, RECORDING, IDLE = "not connected", "live", "recording", "idle"
CUE = "cue:"
STEADY = ("running", "passthrough")
"""States of the engine in which the latency means something."""


class ObsLink:
    """Keeps a connection to OBS while it is entered, in a thread of its own.

    An OBS that is not there, restarts or refuses the password is reported once, and tried again.

    Args:
        surface: the addresses, through which scenes recall presets and cues.
        status: returns the state of the broadcast; called from the thread.
        report: takes a line for the log; called from the thread.
    """

    def __init__(
        self, surface: ControlSurface, status: Callable[[], Status], report: Callable[[str], None]
    ) -> None:
        self._settings = surface.config.broadcast
        self._surface = surface
        self._status = status
        self._report = report
        self._audio = AudioSources(self._settings.obs_audio, report)
        self._offset = SyncOffset(self._settings.obs_audio_extra)
        self._wanted_scenes: SimpleQueue[str] = SimpleQueue()
        self._stopping = ThreadEvent()
        self._thread = SupervisedThread("obs", self._run, self._stopping)
        self._problem = ""
        """The newest problem that was reported, empty while connected."""
        self._refused: set[str] = set()
        self._scene: str | None = None
        self._live = self._recording = False
        self._next_latency = 0.0

    def __enter__(self) -> Self:
        self._surface.commands.bind("obs/live", self._refuse, self._read_live)
        self._surface.commands.bind("obs/scene", self._want_scene, self._read_scene)
        self._surface.control.obs = NOT_CONNECTED
        self._thread.start()
        return self

    def stop(self) -> None:
        """Begin to end: sources get back the offsets that they had."""
        self._stopping.set()

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._thread.join(STOP_S)

    @property
    def _connected(self) -> bool:
        return self._surface.control.obs != NOT_CONNECTED

    # ---- commands, called from any thread

    def _refuse(self, _arguments: Sequence[Argument]) -> None:
        raise ParameterError("is only read: start and stop the stream in OBS")

    def _read_live(self) -> tuple[Argument, ...]:
        return (self._live,) if self._connected else ()

    def _want_scene(self, arguments: Sequence[Argument]) -> None:
        if not self._connected:
            raise ParameterError("OBS is not connected")
        self._wanted_scenes.put(parse_text(arguments))

    def _read_scene(self) -> tuple[Argument, ...]:
        return (self._scene,) if self._connected and self._scene is not None else ()

    # ---- the thread

    def _run(self) -> None:
        backoff = Backoff(first=1.0, longest=10.0)
        while not self._stopping.is_set():
            began = monotonic()
            pause_s = 0.0
            try:
                with self._connect() as obs:
                    self._follow(obs)
            except NotReadyError:
                pass  # It is starting.
            except ObsError as error:
                self._away(error)
                if isinstance(error, PasswordError):
                    pause_s = PASSWORD_PAUSE_S
            finally:
                self._show(NOT_CONNECTED)
            self._stopping.wait(pause_s or backoff.next(healthy_s=monotonic() - began))

    def _connect(self) -> ObsConnection:
        # Read again each time: it may have been set in OBS meanwhile.
        host, _ = parse_endpoint(str(self._settings.obs), 0)
        own = read_server_settings() if host in LOCAL else ServerSettings()
        _, port = parse_endpoint(str(self._settings.obs), own.port)
        return ObsConnection(host, port, obs_password() or own.password)

    def _away(self, error: ObsError) -> None:
        # That it has gone, or that it cannot be reached: one of them is enough.
        if str(error) == self._problem or (self._problem and isinstance(error, UnreachableError)):
            return
        self._problem = str(error)
        self._report(self._problem)

    def _follow(self, obs: ObsConnection) -> None:
        """Follow OBS until the end, or until it is gone."""
        stream = obs.request("GetStreamStatus")
        self._live = bool(stream.get("outputActive")) and not stream.get("outputReconnecting")
        self._recording = self._is_recording(obs)
        scene = str(obs.request("GetCurrentProgramScene").get("currentProgramSceneName", ""))
        self._audio.reconnected(obs)
        self._audio.set(obs, self._offset.current)
        self._show_state()
        if self._problem:
            self._problem = ""
            self._report("OBS is connected")
        else:
            log.info("OBS is connected")
        # The look that it began with stays; a scene that was chosen meanwhile counts.
        missed = self._scene is not None and scene != self._scene
        self._scene = scene
        if missed:
            self._recall(scene)
        while not self._stopping.is_set():
            if event := obs.next_event(POLL_S):
                self._take(event)
            self._switch_scenes(obs)
            self._update_offset(obs)
        with suppress(ObsError):
            self._audio.restore(obs)

    def _is_recording(self, obs: ObsConnection) -> bool:
        try:
            return bool(obs.request("GetRecordStatus").get("outputActive"))
        except RequestError:
            return False  # No recording is set up.

    def _take(self, event: Event) -> None:
        if event.name == "StreamStateChanged":
            self._live = bool(event.values.get("outputActive"))
        elif event.name == "RecordStateChanged":
            self._recording = bool(event.values.get("outputActive"))
        elif event.name == "CurrentProgramSceneChanged":
            self._scene = str(event.values.get("sceneName", ""))
            self._recall(self._scene)
        elif event.name == "SceneNameChanged" and event.values.get("oldSceneName") == self._scene:
            self._scene = str(event.values.get("sceneName", ""))
        else:
            return
        self._show_state()

    def _show_state(self) -> None:
        self._show(LIVE if self._live else RECORDING if self._recording else IDLE)

    def _show(self, state: str) -> None:
        self._surface.control.obs = state
        self._surface.notify()

    def _switch_scenes(self, obs: ObsConnection) -> None:
        with suppress(Empty):
            while True:
                scene = self._wanted_scenes.get_nowait()
                try:
                    obs.request("SetCurrentProgramScene", sceneName=scene)
                except RequestError:
                    self._report(f'OBS has no scene "{printable(scene[:80])}"')

    def _update_offset(self, obs: ObsConnection) -> None:
        now = monotonic()
        if now < self._next_latency or not self._settings.obs_audio:
            return
        self._next_latency = now + LATENCY_PERIOD_S
        status = self._status()
        if status.latency_p50 is None or status.state not in STEADY or status.source != "live":
            return
        self._offset.next(status.latency_p50, now)
        self._audio.set(obs, self._offset.current)

    def _recall(self, scene: str) -> None:
        """Recall the preset or cue of a scene, if it has one."""
        wanted = self._settings.obs_scenes.get(scene)
        if wanted is None:
            wanted = next(
                (n for n in self._surface.presets.names if _plain(n) == _plain(scene)), ""
            )
        if not wanted:
            return
        is_cue = wanted.startswith(CUE)
        address = "cue/jump" if is_cue else "preset/load"
        name = wanted.removeprefix(CUE).strip()
        full = f"{self._surface.prefix}/{address}"
        outcome = self._surface.apply([Message(full, (name,))], "obs")
        problems = [reason for _, reason in outcome.refused] + ["unknown" for _ in outcome.unknown]
        if not problems:
            log.info('OBS scene "%s": %s %s', printable(scene), "cue" if is_cue else "preset", name)
        elif scene not in self._refused:
            self._refused.add(scene)
            self._report(f'OBS scene "{printable(scene)}" recalls nothing: {full} {problems[0]}')


def _plain(name: str) -> str:
    """Return `name` as the files of presets are named: in small letters, without spaces."""
    return name.strip().casefold().replace(" ", "-").replace("_", "-")
