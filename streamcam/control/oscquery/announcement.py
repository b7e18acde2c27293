"""Announcement of OSC and OSCQuery on the local network by mDNS (Bonjour, Avahi)."""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Self

import psutil

from streamcam.errors import one_line
from streamcam.system.supervised_thread import SupervisedThread

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

OSCQUERY = "_oscjson._tcp.local."
OSC = "_osc._udp.local."
FIRST_S = 5.0
"""Seconds from the start until the first announcement, which shall not slow the start."""
PERIOD_S = 2.0
"""Seconds between two looks for a service that has moved."""
RETRY_S = 60.0
STOP_S = 1.0
"""Seconds in which the services are taken back."""
MAX_NAME = 60
"""Bytes of an instance's name."""


class Service(NamedTuple):
    """A service of this machine."""

    kind: str
    host: str
    """Address that it is bound to; 0.0.0.0 is every one."""
    port: int


class Announcement:
    """Announces services while it is entered, in a thread of its own.

    Where nothing can be announced, without a network for example, that is reported once, and
    tried again every minute.

    Args:
        services: returns those that there are now; called from the thread.
        report: takes a line for the log; called from the thread.
        first_s: seconds until the first announcement.
    """

    def __init__(
        self,
        services: Callable[[], Sequence[Service]],
        report: Callable[[str], None],
        *,
        first_s: float = FIRST_S,
    ) -> None:
        self._services = services
        self._report = report
        self._first_s = first_s
        self._stopping = Event()
        self._thread = SupervisedThread("mdns", self._run, self._stopping)
        self._failed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Begin to take the services back, which takes half a second."""
        self._stopping.set()

    def __exit__(self, *exception: object) -> None:
        self.stop()
        # A network that is gone must not hold up the end.
        self._thread.join(STOP_S)

    def _run(self) -> None:
        wait_s = self._first_s
        while not self._stopping.wait(wait_s):
            services = self._services()
            try:
                self._announce(services)
            except Exception as error:
                if not self._failed:
                    self._failed = True
                    reason = one_line(error)
                    self._report(
                        f"OSC and OSCQuery are not announced on the network: {reason}; clients"
                        " reach them by address and port all the same"
                    )
                wait_s = RETRY_S
            else:
                wait_s = PERIOD_S

    def _announce(self, services: Sequence[Service]) -> None:
        """Announce `services` until there are others or the end has come."""
        if not services:
            return
        # Imported here: a start shall not wait for it.
        from zeroconf import IPVersion, Zeroconf

        zeroconf = Zeroconf(ip_version=IPVersion.V4Only)
        try:
            for service in services:
                zeroconf.register_service(_info(service), allow_name_change=True)
            while not self._stopping.wait(PERIOD_S) and self._services() == services:
                pass
        finally:
            _close(zeroconf)


def _close(zeroconf: "Zeroconf") -> None:
    with suppress(Exception):  # The network is gone, say.
        zeroconf.close()


def _info(service: Service) -> "ServiceInfo":
    from zeroconf import ServiceInfo

    machine = socket.gethostname().partition(".")[0] or "this machine"
    name = f"streamcam ({machine})".encode()[:MAX_NAME].decode(errors="ignore")
    return ServiceInfo(
        service.kind,
        f"{name}.{service.kind}",
        addresses=announced_addresses(service.host),
        port=service.port,
        properties={"txtvers": "1"},
        # A name of our own: that of the machine belongs to its own announcements.
        server=f"streamcam-{machine}-{service.port}.local.".replace(" ", "-"),
    )


def announced_addresses(host: str) -> list[bytes]:
    """Return the packed addresses that a service bound to `host` is reached by."""
    address = ip_address(socket.gethostbyname(host) if not _is_address(host) else host)
    if not address.is_unspecified:
        return [address.packed]
    families = [found for own in psutil.net_if_addrs().values() for found in own]
    own = [ip_address(found.address) for found in families if found.family == socket.AF_INET]
    elsewhere = [found.packed for found in own if not found.is_loopback]
    return elsewhere or [ip_address("127.0.0.1").packed]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
