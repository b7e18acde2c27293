"""Progress of a build: the current step and the seconds gone, and no more lines than are wanted."""

import threading

from streamcam.engines.build_progress import BuildProgress, ProgressLine, ThrottledProgress


def test_the_lines_name_the_step_and_the_seconds_and_end_with_the_build() -> None:
    lines: list[str] = []
    came = threading.Semaphore(0)

    def report(line: str) -> None:
        lines.append(line)
        came.release()

    with BuildProgress("building it (1 of 3)", report, interval_s=0.001) as progress:
        assert came.acquire(timeout=60)
        progress.step("compiling")
        # Lines that are on their way name the step before.
        while "compiling" not in lines[-1]:
            assert came.acquire(timeout=60)
    assert lines[0] == "building it (1 of 3): starting, 0 s"
    assert lines[-1] == "building it (1 of 3): compiling, 0 s"
    assert all(isinstance(line, ProgressLine) for line in lines)


def test_a_log_gets_progress_only_where_nothing_else_came_for_long() -> None:
    now, lines = [0.0], list[str]()
    report = ThrottledProgress(lines.append, interval_s=30, clock=lambda: now[0])
    for second in range(100):
        now[0] = second
        report("ready" if second == 50 else ProgressLine(f"compiling, {second} s"))
    assert lines == ["compiling, 30 s", "ready", "compiling, 80 s"]
    assert type(lines[0]) is str
