"""The three encodings of relative encoders, and how they are told apart."""

import pytest

from streamcam.control.midi.relative_encoders import AUTO, StepDecoder, decode, detect

UP_AND_DOWN = {
    "twos-complement": [1, 1, 2, 1, 127, 127, 126],
    "offset": [65, 65, 66, 65, 63, 63, 62],
    "sign-bit": [1, 1, 2, 1, 65, 65, 66],
}


@pytest.mark.parametrize("encoding", UP_AND_DOWN)
def test_turning_both_ways_shows_the_encoding(encoding: str) -> None:
    values = UP_AND_DOWN[encoding]
    assert detect(values) == encoding
    assert [decode(value, encoding) for value in values] == [1, 1, 2, 1, -1, -1, -2]
    decoder = StepDecoder(AUTO)
    assert [decoder.steps(value) for value in values][3:] == [1, -1, -1, -2]


@pytest.mark.parametrize("values", [[1, 1, 1, 1], [65, 65, 65]])
def test_one_direction_alone_leaves_it_open(values: list[int]) -> None:
    assert detect(values) == AUTO
    assert StepDecoder(AUTO).steps(values[0]) == 1


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4, 5, 6],
        [127, 126, 125, 124],
        [60, 61, 62, 63, 64, 65],
        [127, 0, 127, 0],
        [127, 127],
        [10, 40, 90],
        [64, 64, 64],
        [],
    ],
)
def test_positions_and_buttons_are_no_steps(values: list[int]) -> None:
    assert detect(values) is None
