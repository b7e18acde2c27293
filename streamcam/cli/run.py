"""``streamcam run``: on air."""

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from streamcam.cli.options import configured, settings
from streamcam.cli.reporting import Reporter, reporting
from streamcam.cli.stopping import Asked, stopping
from streamcam.control.osc.server import OscServer
from streamcam.control.state import Control
from streamcam.pipelines import release_ranks, run_as_rank
from streamcam.runtime.auto_settings import settle, settle_model
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import VideoSettings
from streamcam.sinks.sink_table import open_sink
from streamcam.sinks.snapshot import SnapshotWriter
from streamcam.sources.source_table import open_source
from streamcam.types import BroadcastView, Sink

log = logging.getLogger("streamcam")

LOOK_S = 0.1
OPEN_S = 5.0


@click.command(options_metavar="[OPTIONS]")
@click.option(
    "--duration", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Stop after so long."
)
@click.option("--log-json", is_flag=True, help="Log in JSON, a line each, for services.")
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
    """Go on air: camera, model, virtual camera, steered over OSC, until Ctrl-C.

    Without settings: the first camera, else a drawn person; a model in the cache, else
    nano, which comes with streamcam; the virtual camera, else the preview page.
    """
    with reporting(as_json=log_json) as reporter:
        asked_for = configured(presets, assignments, flags)
        if run_as_rank(settle_model(asked_for)[0], live=True):
            return
        with stopping() as asked:
            config, lines = settle(asked_for)
            for line in lines:
                log.info(line)
            _broadcast(config, began, duration, asked, reporter)


def _broadcast(
    config: Config, began: float, duration: float | None, asked: Asked, reporter: Reporter
) -> None:
    control = Control(config)
    source = open_source(config.broadcast.source, config.broadcast)

    def sinks(view: BroadcastView) -> Iterable[tuple[str, Sink]]:
        for spec in config.broadcast.sink:
            yield spec, open_sink(spec, config.broadcast, view)
        yield "snapshots", SnapshotWriter(Path(config.broadcast.snapshots), view)

    broadcast = BroadcastLoop(config, control, source, sinks)
    with _osc(config, control, broadcast), broadcast:
        on_air = _wait_until_on_air(broadcast, config, began, asked)
        end = time.monotonic() + duration if duration else float("inf")
        while not asked.wait(LOOK_S) and not broadcast.over.is_set() and time.monotonic() < end:
            on_air = on_air or _report_on_air(broadcast, config, began)
            reporter.show(broadcast.status())
        release_ranks()
    if broadcast.failed:
        raise broadcast.failed
    if schedule := broadcast.status().schedule:
        log.info(schedule)
    log.info("off air after %.0f s", broadcast.status().uptime)


def _wait_until_on_air(
    broadcast: BroadcastLoop, config: Config, began: float, asked: Asked
) -> bool:
    """Wait for the first pictures and log that they were taken, else why not."""
    end = time.monotonic() + OPEN_S
    while not broadcast.wait_until_sending(LOOK_S) and time.monotonic() < end:
        if asked.is_set() or broadcast.over.is_set():
            return False
    if _report_on_air(broadcast, config, began):
        return True
    if waiting := broadcast.waiting():
        log.warning("not on air yet: %s took no picture so far", ", ".join(waiting))
    else:
        log.warning("not on air: no sink is open yet; they are tried again")
    return False


def _report_on_air(broadcast: BroadcastLoop, config: Config, began: float) -> bool:
    """Log that every open sink takes pictures, if so; return whether."""
    if broadcast.waiting() or not broadcast.sending().intersection(config.broadcast.sink):
        return False
    log.info("on air after %.2f s", time.monotonic() - began)
    return True


def _osc(
    config: Config, control: Control, broadcast: BroadcastLoop
) -> AbstractContextManager[object]:
    if not config.broadcast.osc:
        return nullcontext()
    return OscServer(control, config, broadcast.status, log.warning)
