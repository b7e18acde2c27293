import numpy as np
import pytest

from streamcam.sources.tone_mapping import (
    HLG,
    PEAK_NITS,
    PQ,
    WHITE_NITS,
    hlg_to_nits,
    nits_to_pq,
    pq_to_nits,
    to_sdr,
)

BT709_PRIMARIES, UNKNOWN, BT2020_PRIMARIES, P3_PRIMARIES = 1, 2, 9, 12
SRGB = 13


def grey(nits: float) -> float:
    """Return the level, 0 to 255, of grey of so many cd/m² in PQ."""
    signal = np.full((1, 3), nits_to_pq(np.array(nits)))
    red, green, blue = 255 * to_sdr(signal, PQ, BT2020_PRIMARIES)[0]
    assert red == pytest.approx(green, abs=0.1)
    assert red == pytest.approx(blue, abs=0.1)
    return float(red)


def test_pq_and_its_inverse_are_those_of_bt2100() -> None:
    assert pq_to_nits(np.array([0.0, 0.5081, 0.5806, 1.0])) == pytest.approx(
        [0, 100, 203, 10000], rel=2e-3, abs=1e-6
    )
    levels = np.linspace(0, 1, 50)
    assert nits_to_pq(pq_to_nits(levels)) == pytest.approx(levels, abs=1e-6)


def test_hlg_is_shown_as_a_display_of_1000_nits_shows_it() -> None:
    signal = np.repeat([[0.0], [0.75], [1.0]], 3, axis=1)
    assert hlg_to_nits(signal)[:, 0] == pytest.approx([0, 203, PEAK_NITS], rel=5e-3, abs=1e-6)


def test_mid_grey_stays_and_highlights_roll_off_below_white() -> None:
    # 18 % of white is 118 in sRGB; white leaves room for what is brighter.
    assert grey(0) == 0
    assert grey(0.18 * WHITE_NITS) == pytest.approx(118, abs=1.5)
    assert 220 < grey(WHITE_NITS) < 240
    levels = [grey(nits) for nits in (0, 1, 10, 50, 100, 203, 300, 500, 800, 1000)]
    assert all(np.diff(levels) > 0)
    assert grey(PEAK_NITS) == pytest.approx(255, abs=0.5)
    assert grey(10_000) == pytest.approx(255, abs=0.5)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_without_known_primaries_is_bt2020(transfer: int) -> None:
    signal = np.array([[0.5, 0.3, 0.2]])
    unknown = to_sdr(signal, transfer, UNKNOWN)
    assert unknown == pytest.approx(to_sdr(signal, transfer, BT2020_PRIMARIES))
    assert abs(unknown - to_sdr(signal, transfer, BT709_PRIMARIES)).max() > 0.02


def test_colours_that_srgb_has_are_converted_exactly() -> None:
    # The orange (255, 128, 0) of sRGB, in Display P3.
    display_p3 = np.array([[0.9357, 0.5293, 0.1988]])
    assert 255 * to_sdr(display_p3, SRGB, P3_PRIMARIES)[0] == pytest.approx([255, 128, 0], abs=3)


@pytest.mark.parametrize("primaries", [BT2020_PRIMARIES, P3_PRIMARIES])
def test_grey_of_a_wide_gamut_stays_grey_and_stronger_colours_keep_their_hue(
    primaries: int,
) -> None:
    levels = np.repeat(np.linspace(0, 1, 9)[:, None], 3, axis=1)
    assert to_sdr(levels, SRGB, primaries) == pytest.approx(levels, abs=2e-3)
    red, green, blue = to_sdr(np.eye(3), SRGB, primaries)
    assert red.argmax() == 0
    assert green.argmax() == 1
    assert blue.argmax() == 2
    assert min(red[0], green[1], blue[2]) > 0.7
