"""Setup that every command does before its own work."""

import os

import pytest

from streamcam import cli


@pytest.fixture(autouse=True)
def no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", lambda _: 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set, then deleted, so that monkeypatch also deletes the value a test leaves.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_idle_threads_of_torch_soon_release_their_cores() -> None:
    with pytest.raises(SystemExit):
        cli.main()
    assert int(os.environ["GOMP_SPINCOUNT"]) < 300_000


@pytest.mark.parametrize(
    ("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")]
)
def test_thread_variables_set_by_the_user_are_kept(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT", "7") == "7"
