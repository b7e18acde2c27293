"""What every command does before its own work."""

import os

import pytest

from streamcam import cli


@pytest.fixture(autouse=True)
def without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", lambda _: 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set and taken away, so that what a test leaves is taken away too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_idle_threads_leave_the_cores_to_other_engines() -> None:
    with pytest.raises(SystemExit):
        cli.main()
    assert int(os.environ["GOMP_SPINCOUNT"]) < 300_000


@pytest.mark.parametrize(
    ("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")]
)
def test_what_the_user_says_of_threads_stays(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT", "7") == "7"
