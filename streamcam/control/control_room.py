"""The control room: the protocols that one broadcast is steered by, opened and closed together."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import urlsplit

from streamcam.control.cue_list import CueList, load_cue_list
from streamcam.control.cue_player import CuePlayer
from streamcam.control.file_jobs import FileJobs
from streamcam.control.midi.midi_control import MidiControl
from streamcam.control.obs.obs_link import ObsLink
from streamcam.control.osc.server import OscServer
from streamcam.control.oscquery.announcement import OSC, OSCQUERY, Announcement, Service
from streamcam.control.preset_editor import PresetEditor
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.tempo_room import TempoRoom
from streamcam.control.web.page_server import PageServer
from streamcam.settings.config import Config
from streamcam.settings.cue_settings import cue_list_file
from streamcam.stats import LatencyHistory, Status

log = logging.getLogger("streamcam")


class ControlRoom:
    """Context manager: while it is entered, messages of every protocol reach the control surface.

    What is on air depends on none of them.
    """

    def __init__(
        self,
        config: Config,
        control: Control,
        status: Callable[[], Status],
        latency_history: LatencyHistory,
        *,
        asks_for_token: bool = False,
    ) -> None:
        """Prepare the protocols that the settings ask for.

        Args:
            config: settings fixed at start.
            control: the live parameters.
            status: returns the state of the broadcast.
            latency_history: returns the latencies of the last minute.
            asks_for_token: whether the web server answers only whoever has a token.

        Raises:
            ConfigError: an alias leads nowhere, a cue is wrong, or a package is not installed.
        """
        settings = config.broadcast
        self._settings = settings
        self._status = status
        self._asks_for_token = asks_for_token
        self.surface = ControlSurface(control, config, log.warning)
        cues: CueList | None = None
        if settings.cue_list:
            cues = load_cue_list(cue_list_file(settings.cue_list), config, self.surface.presets)
        self._files = FileJobs()
        PresetEditor(self.surface, self._files).bind()
        self._cues = CuePlayer(self.surface, self._files, cues)
        self._page = PageServer(self.surface, status, latency_history)
        self._tempo = TempoRoom(self.surface, status)
        self._announcement = Announcement(self.services, log.warning)
        self._osc = OscServer(self.surface, status, log.warning) if settings.osc else None
        self._midi: MidiControl | None = None
        if settings.midi:
            self._midi = MidiControl(self.surface, log.warning, on_clock=self._tempo.clock.midi)
        self._obs = ObsLink(self.surface, status, log.warning) if settings.obs else None
        self._stack = ExitStack()

    @property
    def osc_port(self) -> int | None:
        """The UDP port of OSC; None without OSC."""
        return self._osc.port if self._osc else None

    @property
    def changes(self) -> int:
        """Number of OSC messages that have been applied so far."""
        return self._osc.counts["applied"] if self._osc else 0

    def web_routes(self) -> Sequence[Any]:
        """Return the Starlette routes of the protocols that the web server carries."""
        routes = self._page.routes()
        if self.osc_port is None or not self._settings.oscquery:
            return routes
        # Imported here: a broadcast without a page shall not pay for it.
        from streamcam.control.oscquery.routes import oscquery_routes

        return [
            *oscquery_routes(self.surface, self.osc_port, self._status, log.warning),
            *routes,
        ]

    def services(self) -> Sequence[Service]:
        """Return the services that other programs on the network may look for."""
        if self.osc_port is None:
            return []
        services = [Service(OSC, self._settings.osc_bind, self.osc_port)]
        page = self._status().page
        # Whoever lists it has no token to give.
        if page and self._settings.oscquery and not self._asks_for_token:
            port = urlsplit(page).port or self._settings.preview_port
            services.append(Service(OSCQUERY, self._settings.web_bind, port))
        return services

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._files)
            stack.enter_context(self._cues)
            stack.enter_context(self._page)
            stack.enter_context(self._tempo)
            if self._settings.mdns:
                stack.enter_context(self._announcement)
            for protocol in (self._osc, self._midi, self._obs):
                if protocol:
                    stack.enter_context(protocol)
            self._stack = stack.pop_all()
        return self

    def ask_to_stop(self) -> None:
        """Begin what takes a while at the end, while other parts of the broadcast end too."""
        self._announcement.stop()
        if self._obs:
            self._obs.stop()

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
