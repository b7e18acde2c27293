"""Calls that are recorded as graphs: after enough plain ones of their kind, and again later."""

import pytest

from streamcam.engines.graphed_calls import RETRY_CALLS, WARM_UP_CALLS, Call, GraphedCalls


class Driver:
    """Records calls by counting them, and refuses the first ones, as many as asked for."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.log: list[str] = []

    def __call__(self, call: Call) -> Call:  # noqa: ARG002
        self.log.append("capture")
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("out of memory")
        return lambda: self.log.append("replay")

    def plain(self) -> None:
        self.log.append("plain")


@pytest.fixture
def reports() -> list[str]:
    return []


def test_work_that_has_never_run_is_not_recorded_before_it_has_run_plainly(
    reports: list[str],
) -> None:
    driver = Driver()
    calls = GraphedCalls(driver, reports.append)
    for index in range(WARM_UP_CALLS + 2):
        calls(index % 2, None, driver.plain)
    assert driver.log == ["plain"] * WARM_UP_CALLS + ["capture", "replay"] * 2
    driver.log.clear()
    for index in range(3):
        calls(index % 2, None, driver.plain, kind="blended")
    assert driver.log == ["plain", *["capture", "replay"] * 2]
    driver.log.clear()
    calls(0, None, driver.plain)
    calls(0, None, driver.plain, kind="blended")
    assert driver.log == ["replay"] * 2


def test_a_new_version_is_run_plainly_and_recorded_again(reports: list[str]) -> None:
    driver = Driver()
    calls = GraphedCalls(driver, reports.append)
    for version in (1, 2):
        driver.log.clear()
        for _ in range(WARM_UP_CALLS + 2):
            calls(0, version, driver.plain)
        assert driver.log == ["plain"] * WARM_UP_CALLS + ["capture", "replay", "replay"]


def test_a_capture_that_failed_is_tried_again_after_a_while_and_each_time_later(
    reports: list[str],
) -> None:
    driver = Driver(refusals=2)
    calls = GraphedCalls(driver, reports.append)
    for _ in range(WARM_UP_CALLS + 3 * RETRY_CALLS + 1):
        calls(0, None, driver.plain)
    tried = [index for index, event in enumerate(driver.log) if event == "capture"]
    # The captures themselves are in the log too.
    assert tried == [
        WARM_UP_CALLS,
        WARM_UP_CALLS + RETRY_CALLS + 1,
        WARM_UP_CALLS + 3 * RETRY_CALLS + 2,
    ]
    assert driver.log[-1] == "replay"
    assert len(reports) == 2
    assert reports[0] == "frames run without a CUDA graph: out of memory"
    assert reports[1].startswith("frames run as one CUDA graph, recorded in")


def test_what_cannot_be_recorded_keeps_no_other_work_from_it(reports: list[str]) -> None:
    driver = Driver()
    calls = GraphedCalls(driver, reports.append)
    for _ in range(WARM_UP_CALLS + 1):
        calls(0, None, driver.plain)
    driver.refusals = 1
    for kind in ("first", "second"):
        driver.log.clear()
        for _ in range(4):
            calls(0, None, driver.plain, kind=kind)
        last = "plain" if kind == "first" else "replay"
        assert driver.log[-1] == last
