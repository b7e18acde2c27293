from threading import Event

import pytest
import zeroconf
from pythonoscquery.osc_query_browser import OSCQueryBrowser
from zeroconf import IPVersion, ServiceStateChange, Zeroconf

from streamcam.control.oscquery.announcement import (
    OSCQUERY,
    Announcement,
    Service,
    announced_addresses,
)

SERVICE = Service(OSCQUERY, "127.0.0.1", 48090)


def multicast_works() -> bool:
    """Return whether one socket of this machine hears another by mDNS."""
    try:
        Zeroconf(ip_version=IPVersion.V4Only).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not multicast_works(), reason="needs a network with multicast")
def test_a_client_of_others_finds_oscquery() -> None:
    browser = OSCQueryBrowser()
    names: list[str] = []
    found = Event()

    def notice(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if service_type == OSCQUERY and name.startswith("streamcam"):
            names.append(name)
            found.set()

    browser.browser.service_state_changed.register_handler(notice)
    reports: list[str] = []
    try:
        with Announcement(lambda: [SERVICE], reports.append, first_s=0):
            assert found.wait(20), reports
            info = browser.zc.get_service_info(OSCQUERY, names[0])
            assert info is not None
            assert (info.parsed_addresses(), info.port) == (["127.0.0.1"], SERVICE.port)
    finally:
        browser.zc.close()
    assert reports == []


def test_a_network_without_multicast_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Event()
    tries: list[int] = []

    def fail(**_: object) -> None:
        tries.append(1)
        if len(tries) == 2:
            tried.set()
        raise OSError(19, "No such device")

    monkeypatch.setattr(zeroconf, "Zeroconf", fail)
    monkeypatch.setattr("streamcam.control.oscquery.announcement.RETRY_S", 0.01)
    reports: list[str] = []
    with Announcement(lambda: [SERVICE], reports.append, first_s=0):
        assert tried.wait(5)
    [line] = reports
    assert "not announced on the network: [Errno 19] No such device" in line


def test_a_service_that_the_network_reaches_is_announced_with_its_addresses() -> None:
    addresses = announced_addresses("0.0.0.0")
    assert addresses
    assert announced_addresses("192.0.2.7") == [bytes([192, 0, 2, 7])]
    others = [address for address in addresses if address[0] != 127]
    # On a machine without a network there is only itself.
    assert addresses in (others, [b"\x7f\0\0\1"])
