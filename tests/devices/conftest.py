"""Tests on video devices of the kernel; ``make test-devices`` finds or makes them.

Otherwise they are skipped, even on a machine with a webcam: they unplug it.
"""

import os

import pytest

from streamcam import v4l2

ASKED = ("STREAMCAM_TEST_DEVICES", "IN_VM")
"""Environment variables, one of which is set where the tests may use the devices."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip every test here where there are no devices for it."""
    if not any(map(os.environ.get, ASKED)):
        pytest.skip("takes video devices for itself: make test-devices")
    if not any(device.is_loopback or device.driver == "vivid" for device in v4l2.devices()):
        pytest.skip("neither vivid nor v4l2loopback is loaded here")
