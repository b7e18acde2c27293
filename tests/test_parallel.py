"""The tests spread over several processes: slow files first, and in one piece."""

from pathlib import Path

import pytest

from tests.support import parallel

TESTS = Path(__file__).parent


def test_the_slow_files_are_there() -> None:
    assert [file for file in parallel.SLOW if not (TESTS / file).is_file()] == []
    assert set(parallel.SPREAD) <= set(parallel.SLOW)


def test_slow_files_come_first_in_their_order_and_the_rest_stays() -> None:
    first, second = parallel.SLOW[:2]
    ids = ["tests/a.py::b", f"tests/{second}::x", "tests/c.py::d[e]", f"tests/{first}::y[z]"]
    assert sorted(ids, key=parallel.place_of) == [ids[3], ids[1], ids[0], ids[2]]


pytest_plugins = ["pytester"]


def test_two_processes_take_whole_files_and_run_every_test_once(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    for name in ("a", "b", "c"):
        pytester.makepyfile(
            **{
                f"test_{name}": """
                import os, pytest
                @pytest.mark.parametrize("i", range(4))
                def test_one(i):
                    with open("ran", "a") as file:
                        file.write(f"{__name__} {os.getpid()}\\n")
                """
            }
        )
    pytester.makeconftest('pytest_plugins = ["tests.support.parallel"]')
    pytester.syspathinsert(TESTS.parent)
    result = pytester.runpytest_subprocess("-n2", "--timeout=0")
    result.assert_outcomes(passed=12)
    lines = (pytester.path / "ran").read_text().split("\n")[:-1]
    assert len(lines) == 12
    assert len(set(lines)) == 3  # Each file in one process.
