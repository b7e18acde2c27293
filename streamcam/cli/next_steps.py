"""Lines for a broadcast that is on air: what it shows, where to see it, what to type next."""

import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from streamcam.redaction import redacted_url
from streamcam.runtime.auto_settings import PASSTHROUGH
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.stats import Status

EXAMPLES = ("oil painting", "blue neon edges on black")
"""Prompts to try: the first that is not on air already."""
CAMERA = "virtual-camera"
ON_LOOPBACK = ("127.0.0.1", "localhost", "0.0.0.0")
"""Addresses to bind to with which a client reaches OSC at its default host."""


def next_steps(
    seconds: float,
    config: Config,
    status: Status,
    sending: Collection[str],
    osc_port: int | None,
    *,
    asks_for_token: bool = False,
) -> Iterator[str]:
    """Yield at most three lines.

    Args:
        seconds: time that it took to go on air.
        config: settings of the broadcast, with no "auto" left.
        status: of the broadcast, which has the address of its page.
        sending: sinks that take frames.
        osc_port: port of OSC; None where nothing can be changed.
        asks_for_token: whether the page is opened with links of its own, which hold a token.
    """
    yield f"on air after {seconds:.2f} s: {_shown(config, status)}"
    page = None if asks_for_token else status.page
    if places := list(_places(config, page, sending)):
        yield f"see it: {', or '.join(places)}"
    if osc_port is not None and config.model != PASSTHROUGH:
        command = f"{program()} prompt{_client_options(config.broadcast, osc_port)}"
        example = next(text for text in EXAMPLES if text != status.prompt)
        yield (
            f'change it: type {command} "{example}" in another terminal;'
            f' "{program()} presets" lists looks; Ctrl-C here ends it'
        )


def _shown(config: Config, status: Status) -> str:
    source = redacted_url(config.broadcast.source)
    source = {"demo": "a drawn person", "camera": "the camera"}.get(source, source)
    if config.model == PASSTHROUGH:
        return f"{source}, unchanged"
    prompt = f' as "{status.prompt}"' if status.prompt else ""
    loading = "" if status.state == "running" else ", once that is loaded"
    return f"{source} through {config.model}{prompt}{loading}"


def _places(config: Config, page: str | None, sending: Collection[str]) -> Iterator[str]:
    if page:
        yield page
    for sink in config.broadcast.sink:
        kind, _, name = sink.partition(":")
        if kind.strip().lower().replace("_", "-") == CAMERA and sink in sending:
            camera = f'the camera "{name.strip()}"' if name.strip() else "the virtual camera"
            yield f"choose {camera} in OBS, Zoom or a browser"


def _client_options(settings: BroadcastSettings, osc_port: int) -> str:
    """Return the options that a client needs to reach this broadcast, each with a space before."""
    default = BroadcastSettings()
    host = "" if settings.osc_bind in ON_LOOPBACK else f" --host {settings.osc_bind}"
    port = f" --port {osc_port}" if osc_port != default.osc_port else ""
    prefix = settings.osc_prefix
    return (
        host + port + (f" --prefix {shlex.quote(prefix)}" if prefix != default.osc_prefix else "")
    )


def program() -> str:
    """Return how to call this program: by its name if the shell finds it, else by its path."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m streamcam"
    found = shutil.which(called.name)
    if found and Path(found).resolve() == called.resolve():
        return called.name
    return shlex.quote(str(called))
