"""``streamcam run``: put the camera, through the model, on the virtual camera."""

import logging
import time
from typing import Any

import click

from streamcam.api import Broadcast
from streamcam.cli.options import configured, settings
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
@click.option("--log-json", is_flag=True, help="Log as JSON, one object per line, for services.")
@settings(Config, VideoSettings, BroadcastSettings, Parameters)
@click.pass_obj
def run(
    began: float,
    /,
    duration: float | None,
    log_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Go on air: camera, model, virtual camera, until Ctrl-C.

    The broadcast is controlled over OSC. Without settings it takes the first camera, else a
    drawn person; SD-Turbo if it is in the cache and there is a GPU, else nano, which comes with
    streamcam; the virtual camera, else the preview page.
    """
    with reporting(as_json=log_json) as reporter:
        requested = configured(presets, assignments, flags)
        if run_as_rank(settle_model(requested)[0], live=True):
            return
        with stopping() as stop:
            config, lines = settle(requested)
            for line in lines:
                log.info(line)
            _broadcast(config, began, duration, stop, reporter)


def _broadcast(
    config: Config, began: float, duration: float | None, stop: StopRequest, reporter: Reporter
) -> None:
    shown = OutageLog(
        log, failed="", bug="the status cannot be shown", back="the status is shown again"
    )
    with Broadcast(config) as broadcast:
        on_air = _wait_until_on_air(broadcast, began, stop)
        has_output = False
        end = time.monotonic() + duration if duration else float("inf")
        while not (stop.wait(POLL_INTERVAL_S) or broadcast.wait(0) or time.monotonic() >= end):
            on_air = on_air or _report_on_air(broadcast, began)
            has_output = has_output or _report_first_output(broadcast, began)
            try:
                reporter.show(broadcast.status())
                shown.works()
            except Exception as error:  # No reason to go off air.
                shown.failed(error)
    broadcast.wait(0)  # A failure that came last.
    if schedule := broadcast.status().schedule:
        log.info(schedule)
    log.info("off air after %.0f s", broadcast.status().uptime)


def _wait_until_on_air(broadcast: Broadcast, began: float, stop: StopRequest) -> bool:
    """Wait until every open sink has taken a frame; log that, or the reason why not."""
    end = time.monotonic() + ON_AIR_TIMEOUT_S
    while not broadcast.wait_until_sending(POLL_INTERVAL_S) and time.monotonic() < end:
        if stop.is_set() or broadcast.wait(0):
            return False
    if _report_on_air(broadcast, began):
        return True
    if waiting := broadcast.waiting():
        log.warning("not on air yet: no frame taken so far by %s", ", ".join(waiting))
    else:
        log.warning("not on air: no sink is open yet; they are tried again")
    return False


def _report_on_air(broadcast: Broadcast, began: float) -> bool:
    """Return whether every open sink has taken a frame, and log it if so."""
    if broadcast.waiting() or not broadcast.sending():
        return False
    log.info("on air after %.2f s", time.monotonic() - began)
    return True


def _report_first_output(broadcast: Broadcast, began: float) -> bool:
    """Return whether the model has given an output, and log when it gave the first if so."""
    if broadcast.first_output_at is None:
        return False
    log.info("the model's first output after %.1f s", broadcast.first_output_at - began)
    return True
