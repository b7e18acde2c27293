"""Crashes are blamed on the live values that were new in two of them, and on no others."""

from typing import Any

import pytest

from streamcam.runtime.value_history import FIRST_VERSION, WORKED_AFTER_S, ValueHistory
from streamcam.settings.parameters import Parameters

FIRST = Parameters().changed({"prompt": "a cat"})
SOON, LATE = 1.0, WORKED_AFTER_S + 1


class Show:
    """An engine that is sent values, runs and crashes, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = self.running_since = 0.0
        self.newest, self.version = FIRST, FIRST_VERSION
        self.history = ValueHistory(FIRST, self.now)

    def send(self, **changes: Any) -> None:
        self.version += 1
        self.newest = self.newest.changed(changes)
        self.history.add(self.newest, self.version, self.now)

    def crash(self, after: float) -> set[Any]:
        """Crash after so many seconds; return what is blamed. Another engine is then loaded."""
        self.now += after
        blamed = self.history.crashed(self.running_since, self.now)
        self.now = self.running_since = self.now + 5
        return blamed


@pytest.fixture
def show() -> Show:
    return Show()


def test_a_value_is_blamed_for_the_second_crash_with_it(show: Show) -> None:
    show.send(prompt="a bomb")
    assert show.crash(SOON) == set()
    assert show.crash(SOON) == {("prompt", "a bomb")}
    assert show.history.worked is FIRST


def test_what_worked_before_is_the_newest_that_ran_for_long(show: Show) -> None:
    show.now = LATE
    show.send(prompt="a dog", seed=7)
    show.now += LATE
    show.send(prompt="a bomb")
    show.crash(SOON)
    assert show.crash(SOON) == {("prompt", "a bomb")}
    assert (show.history.worked.prompt, show.history.worked.seed) == ((("a dog", 1.0),), 7)


def test_a_value_that_ran_for_long_is_not_blamed(show: Show) -> None:
    show.send(prompt="a dog")
    for _ in range(3):
        assert show.crash(LATE) == set()
    assert show.history.worked is show.newest


def test_crashes_without_a_new_value_blame_nothing(show: Show) -> None:
    for _ in range(3):
        assert show.crash(SOON) == set()


def test_a_text_is_blamed_while_it_fades_in_and_other_values_move(show: Show) -> None:
    show.send(prompt='[["a cat", 0.9], ["a bomb", 0.1]]', strength=0.41)
    assert show.crash(SOON) == set()
    show.send(prompt='[["a cat", 0.2], ["a bomb", 0.8]]', strength=0.47)
    assert show.crash(SOON) == {("prompt", "a bomb")}


def test_a_value_that_was_there_in_one_crash_alone_is_not_blamed(show: Show) -> None:
    show.send(prompt="a bomb")
    show.crash(SOON)
    show.send(prompt="a dog")
    assert show.crash(SOON) == set()


def test_the_switches_of_the_output_are_never_blamed(show: Show) -> None:
    show.send(panic=True, blackout=True, reset=1, prompt_time=3.0, mix=0.2, guidance_scale=9.0)
    show.crash(SOON)
    assert show.crash(SOON) == {("guidance_scale", 9.0)}


def test_a_version_that_is_forgotten_is_the_one_that_works(show: Show) -> None:
    show.send(prompt="a dog")
    assert show.history.of_version(show.version) is show.newest
    assert show.history.of_version(99) is FIRST
