"""Server side of the control page: what its routes share, for as long as the broadcast lasts."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from streamcam.control.surface import ControlSurface
from streamcam.control.web.log_lines import LogLines
from streamcam.settings.parameters import Parameters
from streamcam.stats import LatencyHistory, Status

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from streamcam.control.web.updates import Updates


class PageServer:
    """Context manager that keeps the newest lines of the log while it is entered.

    Args:
        surface: what the page shows and changes.
        status: returns the state of the broadcast.
        history: latencies of the last minute.
    """

    def __init__(
        self, surface: ControlSurface, status: Callable[[], Status], history: LatencyHistory
    ) -> None:
        self._surface = surface
        self._status = status
        self._history = history
        self._lines = LogLines(self._wake)
        self._updates: Updates | None = None
        surface.listen(self._wake)
        surface.control.listen(self._parameters_changed)

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._lines)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger().removeHandler(self._lines)

    def routes(self) -> "Sequence[BaseRoute]":
        """Return the routes for a server that runs in the current event loop."""
        # Imported here, in the server's thread: without a preview nobody shall pay for it.
        from streamcam.control.web.page_routes import PageRoutes
        from streamcam.control.web.updates import Updates

        self._updates = Updates(self._surface, self._status, self._history, self._lines)
        return PageRoutes(self._surface, self._updates).all()

    def _wake(self) -> None:
        if self._updates:
            self._updates.wake()

    def _parameters_changed(self, _before: Parameters, _after: Parameters) -> None:
        self._wake()
