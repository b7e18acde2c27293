"""Recognise the processes of streamcam that are on air: they hold devices and ports by right."""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from streamcam import v4l2

OWN_NAME = "streamcam"
PID = re.compile(r"\((\d+)\)$")


def named_holders(path: str) -> tuple[str, ...]:
    """Return the processes that have a device open, such as ``obs (4711)``; ours as streamcam."""
    return tuple(map(_renamed, v4l2.holders(path)))


def port_owner(kind: socket.SocketKind, number: int) -> str | None:
    """Return the process that has the port bound, such as ``obs (4711)``; None if not visible."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("inet"):
            bound = connection.type == kind and connection.laddr and connection.laddr[1] == number
            listens = kind == socket.SOCK_DGRAM or connection.status == psutil.CONN_LISTEN
            if bound and listens and connection.pid:
                name = psutil.Process(connection.pid).name()
                return _renamed(f"{name} ({connection.pid})")
    return None


def all_ours(holders: Sequence[str]) -> bool:
    """Return whether every one of `holders` is a streamcam, of which there is at least one."""
    return bool(holders) and all(holder.startswith(f"{OWN_NAME} (") for holder in holders)


def is_broadcast(command: Sequence[str]) -> bool:
    """Return whether `command`, the words of a process, is ``streamcam run``."""
    names = [Path(word).stem for word in command]
    # Python and its options may come before, and options of streamcam's own after.
    return OWN_NAME in names[:4] and "run" in names[names.index(OWN_NAME) + 1 :][:1]


def _renamed(holder: str) -> str:
    """Return `holder` under streamcam's name if it is one: the kernel calls it ``python``."""
    pid = PID.search(holder)
    with suppress(psutil.Error):
        if pid and is_broadcast(psutil.Process(int(pid[1])).cmdline()):
            return f"{OWN_NAME} {pid[0]}"
    return holder
