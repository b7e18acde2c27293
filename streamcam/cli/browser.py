"""Open a page in the user's browser, where there is a desktop to open it on."""

import logging
import subprocess
import sys
from collections.abc import Mapping

from streamcam.errors import StreamcamError
from streamcam.system.child_process import unguarded_environment

log = logging.getLogger("streamcam")

REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def is_on_desktop(environment: Mapping[str, str]) -> bool:
    """Return whether somebody sits at this machine's screen: a terminal, on a desktop, not remote.

    A service has no terminal. The variables of systemd tell less: terminals on a desktop that it
    has started have them too.

    Args:
        environment: variables of this process.
    """
    streams = (sys.stdout, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        return False
    if any(environment.get(name) for name in REMOTE):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return any(environment.get(name) for name in DISPLAYS)


def open_page(url: str) -> None:
    """Open `url` in the default browser; return at once, and log it where that cannot be done.

    The browser is another program: it stays when this one ends, prints nothing here, and is out of
    reach of Ctrl-C. Without TERM, no browser that runs in a terminal is tried.
    """
    try:
        environment = unguarded_environment()
        environment.pop("TERM", None)
        subprocess.Popen(
            [sys.executable, "-I", "-m", "webbrowser", "-t", url],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, StreamcamError) as error:
        log.info("cannot open the browser: %s", error)
