"""``streamcam run``: put the camera, through the model, on the virtual camera."""

import logging
import os
import time
from typing import Any

import click
from rich.console import Console

from streamcam.api import Broadcast
from streamcam.cli.browser import is_on_desktop, open_page
from streamcam.cli.next_steps import next_steps
from streamcam.cli.options import configured, settings
from streamcam.cli.page_links import show_links
from streamcam.cli.reporting import Reporter, reporting
from streamcam.cli.stop_signals import StopRequest, stopping
from streamcam.pipelines import run_as_rank
from streamcam.runtime.auto_settings import settle, settle_model
from streamcam.runtime.outage_log import OutageLog
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import VideoSettings

log = logging.getLogger("streamcam")

POLL_INTERVAL_S = 0.1
ON_AIR_TIMEOUT_S = 5.0
"""Wait for the first frames before the log names the sinks that have taken none."""


@click.command(options_metavar="[OPTIONS]")
@click.option(
    "--duration", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Stop after this time."
)
@click.option(
    "--no-browser", is_flag=True, help="Do not open the preview page in the browser on a desktop."
)
@click.option("--log-json", is_flag=True, help="Log as JSON, one object per line, for services.")
@settings(Config, VideoSettings, BroadcastSettings, Parameters)
@click.pass_obj
def run(
    began: float,
    /,
    duration: float | None,
    no_browser: bool,
    log_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Go on air: camera, model, virtual camera, until Ctrl-C.

    The broadcast is controlled over OSC. Without settings it takes the first camera, else a
    drawn person; SD-Turbo if it is in the cache and there is a GPU, else nano, which comes with
    streamcam; the virtual camera, if there is one, and the preview page.
    """
    # Before the output leads through a pipe.
    browser = not no_browser and is_on_desktop(os.environ)
    with reporting(as_json=log_json) as reporter:
        requested = configured(presets, assignments, flags)
        if not requested.broadcast.engine and run_as_rank(settle_model(requested)[0], live=True):
            return
        with stopping() as stop:
            config, lines = settle(requested)
            for line in lines:
                log.info(line)
            run_for = float("inf") if duration is None else duration
            _broadcast(config, OnAirReport(began, browser=browser), run_for, stop, reporter)


class OnAirReport:
    """Reports, once, that the broadcast is on air: what, where to see it, what to type next.

    Args:
        began: monotonic time of the start.
        browser: also open the preview page in the browser.
    """

    def __init__(self, began: float, *, browser: bool) -> None:
        self._began = began
        self._browser = browser
        self._done = False
        self._has_output = False

    def report(self, broadcast: Broadcast, terminal: Console | None) -> bool:
        """Return whether every open sink has taken a frame; report it the first time."""
        if self._done or broadcast.waiting() or not broadcast.sending():
            return self._done
        self._done = True
        status = broadcast.status()
        seconds = time.monotonic() - self._began
        sending, osc_port = broadcast.sending(), broadcast.osc_port
        links = broadcast.web_links()
        lines = next_steps(
            seconds, broadcast.config, status, sending, osc_port, asks_for_token=links is not None
        )
        for line in lines:
            log.info("%s", line)
        if links:
            show_links(links, terminal)
        if self._browser and status.page:
            open_page(links.operator if links else status.page)
        return True

    def report_first_output(self, broadcast: Broadcast) -> None:
        """Report, once, when the model gave its first output."""
        if self._has_output or broadcast.first_output_at is None:
            return
        self._has_output = True
        seconds = broadcast.first_output_at - self._began
        log.info("the model's first output after %.1f s", seconds)


def _broadcast(
    config: Config, on_air: OnAirReport, run_for: float, stop: StopRequest, reporter: Reporter
) -> None:
    shown = OutageLog(
        log, failed="", bug="the status cannot be shown", back="the status is shown again"
    )
    with Broadcast(config) as broadcast:
        _wait_until_on_air(broadcast, on_air, stop, reporter.terminal)
        end = time.monotonic() + run_for
        while not (stop.wait(POLL_INTERVAL_S) or broadcast.wait(0) or time.monotonic() >= end):
            on_air.report(broadcast, reporter.terminal)
            on_air.report_first_output(broadcast)
            try:
                reporter.show(broadcast.status())
                shown.works()
            except Exception as error:  # No reason to go off air.
                shown.failed(error)
    broadcast.wait(0)  # A failure that came last.
    if schedule := broadcast.status().schedule:
        log.info(schedule)
    log.info("off air after %.0f s", broadcast.status().uptime)


def _wait_until_on_air(
    broadcast: Broadcast, on_air: OnAirReport, stop: StopRequest, terminal: Console | None
) -> None:
    """Wait until every open sink has taken a frame; log that, or the reason why not."""
    end = time.monotonic() + ON_AIR_TIMEOUT_S
    while not broadcast.wait_until_sending(POLL_INTERVAL_S) and time.monotonic() < end:
        if stop.is_set() or broadcast.wait(0):
            return
    if on_air.report(broadcast, terminal):
        return
    if waiting := broadcast.waiting():
        log.warning("not on air yet: no frame taken so far by %s", ", ".join(waiting))
    else:
        log.warning("not on air: no sink is open yet; they are tried again")
