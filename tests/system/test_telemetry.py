"""Importing streamcam turns off the usage statistics of the libraries that it imports later."""

import os
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from streamcam.system import telemetry
from streamcam.system.child_process import start_child
from tests.support.network import DeniedNetwork

CHILD = """
def send():
    import socket
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect_ex("/nowhere")
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except PermissionError as error:
        print(error)
"""


def test_libraries_find_their_statistics_turned_off() -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_DISABLE_TELEMETRY
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_openvino_runs_without_the_package_that_sends_its_statistics() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_what_the_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY")
    monkeypatch.setitem(sys.modules, telemetry.BLOCKED, sys)
    telemetry.turn_off()
    assert os.environ["DO_NOT_TRACK"] == "0"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert sys.modules[telemetry.BLOCKED] is sys


def test_attempts_to_reach_somebody_are_seen_in_these_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    network = DeniedNetwork(tmp_path, monkeypatch)
    with start_child("child:send", "", stdout=PIPE, stderr=None) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "no network here\n"
    assert len(network.attempts) == 1
