"""Two hosts with a cable between them, as network namespaces of Linux; for root."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PREFIX = "streamcam"


class Host(NamedTuple):
    """A host of its own, in all that concerns the network."""

    namespace: str
    interface: str
    address: str

    def start(
        self, words: Sequence[str], log: Path, variables: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start a program there; what it prints is appended to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *words],
                stdout=output,
                stderr=output,
                env=os.environ | dict(variables),
                start_new_session=True,
            )

    def lose_power(self) -> None:
        """Kill all that runs there."""
        for pid in _ip("netns", "pids", self.namespace).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def plug(self, *, connected: bool) -> None:
        """Put the cable in, or pull it out, which closes no connection."""
        state = "up" if connected else "down"
        _ip("-n", self.namespace, "link", "set", self.interface, state)


def unavailable() -> str:
    """Return why there can be no such hosts here; "" where there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces are for root"
    if not shutil.which("ip"):
        return 'there is no program "ip" (of iproute2)'
    name = f"{PREFIX}-{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"this system has no network namespaces: {error.stderr.strip()}"
    return ""


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield two hosts; all that runs there ends with the block."""
    mark = f"{PREFIX}-{os.getpid()}"
    first, second = (
        Host(f"{mark}-{side}", f"sc{os.getpid() % 10**6}{side}", f"10.213.7.{number}")
        for number, side in enumerate("ab", 1)
    )
    try:
        for host in (first, second):
            _ip("netns", "add", host.namespace)
        link = ["link", "add", first.interface, "netns", first.namespace, "type", "veth"]
        _ip(*link, "peer", "name", second.interface, "netns", second.namespace)
        for host in (first, second):
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-n", host.namespace, "link", "set", interface, "up")
        yield first, second
    finally:
        for host in (first, second):
            host.lose_power()
            _ip("netns", "delete", host.namespace)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    return done.stdout
