"""Attempts to reach a network, which is denied to this test's child processes and to theirs."""

from pathlib import Path

import pytest

SITE = """
import sys

# Statistics of OpenVINO are sent by a process that is forked, and may hang before it sends.
EVENTS = "os.fork", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"

def deny(event, arguments):
    unix = event == "socket.connect" and isinstance(arguments[1], (str, bytes))
    if event in EVENTS and not unix:
        with open({log!r}, "a") as log:
            print(event, arguments[1:], sys.argv, file=log)
        raise PermissionError("no network here")

sys.addaudithook(deny)
"""


class DeniedNetwork:
    """Python's audit hook in every child: it denies and records attempts to reach anybody.

    Args:
        folder: an empty one, which is put on the path of modules.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "attempts"
        (folder / "sitecustomize.py").write_text(SITE.format(log=str(self._log)), encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        # What else would keep libraries from trying, on a machine that builds and tests.
        for name in ("CI", "HF_HUB_OFFLINE", "JENKINS_URL", "TF_BUILD"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(folder))  # There is no refusal in it.

    @property
    def attempts(self) -> list[str]:
        """Attempts so far, each with its event, its address and the command line."""
        return self._log.read_text().splitlines() if self._log.exists() else []
