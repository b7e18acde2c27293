"""Tests against video devices of a kernel; ``make test-devices`` finds or makes them.

Outside of that they are skipped, also on a machine with a webcam: they pull it out.
"""

import os

import pytest

from streamcam import v4l2

ASKED = ("STREAMCAM_TEST_DEVICES", "IN_VM")
"""Variables of the environment, of which one is set where the devices are ours to take."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip every test here where there is nothing to test on."""
    if not any(map(os.environ.get, ASKED)):
        pytest.skip("takes video devices for itself: make test-devices")
    if not any(device.is_loopback or device.driver == "vivid" for device in v4l2.devices()):
        pytest.skip("neither vivid nor v4l2loopback is loaded here")
