"""``streamcam serve``: run the model for performers on other machines."""

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import Any

import click

from streamcam.cli.options import configured, settings
from streamcam.cli.reporting import reporting
from streamcam.cli.stop_signals import stopping
from streamcam.errors import ConfigError
from streamcam.runtime.auto_settings import settle_model
from streamcam.runtime.remote.engine_connection import DEFAULT_PORT, check_package
from streamcam.runtime.remote.shared_settings import for_clients
from streamcam.runtime.startup_check import check_startup
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.environment import engine_token
from streamcam.settings.parameters import Parameters
from streamcam.settings.video_settings import VideoSettings
from streamcam.system.network import is_loopback, network_host

log = logging.getLogger("streamcam")

POLL_S = 0.1


@click.command(options_metavar="[OPTIONS]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="UDP port; 0 takes a free one.",
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen at; 0.0.0.0 opens it to the network.",
)
@click.option("--token", metavar="TEXT", help="Token that clients must know. [a new one]")
@click.option(
    "--clients",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Most clients at a time; each has an engine of its own.",
)
@click.option(
    "--batch-streams",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    metavar="N",
    help="Let so many clients share an engine, and each call of its model.",
)
@click.option("--log-json", is_flag=True, help="Log as JSON, one object per line, for services.")
@settings(Config, VideoSettings, Parameters)
def serve(
    port: int,
    bind: str,
    token: str | None,
    clients: int,
    batch_streams: int,
    log_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Run the model for performers on other machines, until Ctrl-C.

    They start "streamcam run --engine HOST:PORT --token TEXT".
    """
    with reporting(as_json=log_json):
        check_package()
        config, why = settle_model(configured(presets, assignments, flags))
        token = _checked(token or engine_token() or secrets.token_urlsafe(16))
        check_startup(config)
        config = for_clients(config)
        log.info("model: %s", why)
        with stopping() as stop:
            asyncio.run(
                _serve(
                    config, token, (max(clients, batch_streams), batch_streams), (bind, port), stop
                )
            )
        log.info("stopped")


async def _serve(
    config: Config, token: str, numbers: tuple[int, int], address: tuple[str, int], stop: Any
) -> None:
    from streamcam.runtime.remote.engine_server import EngineServer

    bind, _ = address

    def ready(port: int) -> None:
        host = "localhost" if is_loopback(bind) else network_host(bind)
        log.info("serving engines at %s:%d (UDP), %d at a time", bind, port, numbers[0])
        click.echo(f"streamcam run --engine {host}:{port} --token {token}")

    server = asyncio.create_task(EngineServer(config, token, *numbers).run(*address, ready))
    while not stop.is_set() and not server.done():
        await asyncio.sleep(POLL_S)
    if server.done():
        server.result()
        return
    server.cancel()
    with suppress(asyncio.CancelledError):
        await server


def _checked(token: str) -> str:
    return BroadcastSettings.parse({"token": token}, ConfigError).token or ""
