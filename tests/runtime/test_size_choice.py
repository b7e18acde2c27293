"""The size by the time for a frame: larger with room to spare, back and never again without."""

import pytest

from streamcam.runtime.size_choice import SECONDS, SizeChoice

SIZES = [(448, 256), (576, 320), (672, 384), (896, 512)]
PERIOD = 1 / 25


def after(choice: SizeChoice, seconds: float) -> tuple[int, int] | None:
    """Return the choice after so many seconds in a row with the same time for a frame."""
    return [choice.next(seconds, PERIOD) for _ in range(SECONDS)][-1]


@pytest.mark.parametrize(
    ("milliseconds", "size"),
    [(40, None), (20, None), (18, (576, 320)), (12, (672, 384)), (6, (896, 512))],
)
def test_it_grows_to_the_largest_size_that_leaves_a_fifth_of_the_time(
    milliseconds: float, size: tuple[int, int] | None
) -> None:
    assert after(SizeChoice(SIZES, SIZES[0]), milliseconds / 1000) == size


def test_one_slow_second_puts_growth_off() -> None:
    choice = SizeChoice(SIZES, SIZES[0])
    seconds = [0.006, 0.006, 0.03, *[0.006] * SECONDS]
    chosen = [choice.next(s, PERIOD) for s in seconds]
    assert chosen == [None] * (SECONDS + 2) + [(896, 512)]


def test_a_size_that_is_too_slow_is_left_and_not_tried_again() -> None:
    choice = SizeChoice(SIZES, (896, 512))
    assert after(choice, 0.05) == (672, 384)
    choice.begin((672, 384))
    assert after(choice, 0.001) is None
    assert choice.too_large == (896, 512)


def test_one_fast_second_keeps_a_size() -> None:
    choice = SizeChoice(SIZES, (896, 512))
    chosen = [choice.next(s, PERIOD) for s in [0.05, 0.05, 0.03, 0.05, 0.05]]
    assert chosen == [None] * 5


def test_where_nothing_is_fast_enough_it_goes_back_to_the_smallest_and_stays() -> None:
    choice = SizeChoice(SIZES, (896, 512))
    assert after(choice, 3.0) == (448, 256)
    choice.begin((448, 256))
    assert after(choice, 3.0) is None


def test_after_a_failure_no_size_larger_than_that_in_use_is_chosen() -> None:
    choice = SizeChoice(SIZES, (576, 320))
    choice.stay()
    assert after(choice, 0.001) is None
    assert after(choice, 0.05) == (448, 256)
