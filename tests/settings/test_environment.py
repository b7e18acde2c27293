"""Environment variables that settings depend on."""

import pytest

from streamcam.settings.environment import Launch, hub_is_offline, torchrun_launch

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1"}


@pytest.fixture(autouse=True)
def _without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_torchrun_gives_a_process_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, TORCHRUN)
    assert torchrun_launch() == Launch(rank=3, ranks=4, local=1)


@pytest.mark.parametrize("missing", TORCHRUN)
def test_without_one_of_its_variables_torchrun_was_not_there(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    set_variables(monkeypatch, TORCHRUN)
    monkeypatch.delenv(missing)
    assert torchrun_launch() is None


@pytest.mark.parametrize("change", [{"WORLD_SIZE": "1"}, {"RANK": "-1"}, {"LOCAL_RANK": "first"}])
def test_a_process_alone_or_with_odd_variables_has_no_place(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    set_variables(monkeypatch, TORCHRUN | change)
    assert torchrun_launch() is None


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_the_hub_is_offline_by_its_own_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub_is_offline() is offline
