"""Link to an OBS, and what it changes, for the tests."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Queue
from typing import Any

from streamcam.control.dispatcher import Outcome
from streamcam.control.messages import Message
from streamcam.control.obs.obs_link import ObsLink
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config
from streamcam.stats import Status
from tests.control.osc.running_server import STATUS


class RecordingSurface(ControlSurface):
    """Surface that keeps what is sent to it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.applied: Queue[Message] = Queue()

    def apply(self, messages: Sequence[Message], source: Any) -> Outcome:
        outcome = super().apply(messages, source)
        for message in messages:
            self.applied.put(message)
        return outcome


class Linked:
    """A link, the parameters that it changes, and what it reports."""

    def __init__(self, surface: RecordingSurface, reports: "Queue[str]") -> None:
        self.surface, self.reports = surface, reports
        self.status = STATUS

    @property
    def state(self) -> str:
        return self.surface.control.obs

    def wait_until(self, state: str, timeout_s: float = 5) -> None:
        """Wait until OBS is shown as in `state`."""
        end = time.monotonic() + timeout_s
        while self.state != state:
            assert time.monotonic() < end, self.state
            time.sleep(0.005)

    def send(self, name: str, *arguments: Any) -> Outcome:
        return self.surface.apply([Message(f"/streamcam/{name}", arguments)], "me")

    def value(self, name: str) -> tuple[Any, ...]:
        found = self.surface.value_of(f"/streamcam/{name}")
        return found.arguments if found else ()

    def current_status(self) -> Status:
        return self.status


@contextmanager
def linked(obs: str, **settings: Any) -> Iterator[Linked]:
    config = build_config([{"obs": obs, **settings}])
    reports: Queue[str] = Queue()
    link = Linked(RecordingSurface(Control(config), config, reports.put), reports)
    with ObsLink(link.surface, link.current_status, reports.put):
        yield link
