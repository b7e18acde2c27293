"""Targets: every address of the table is something that a control can change, or says why not."""

import pytest

from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment
from streamcam.errors import ConfigError
from tests.control.midi.controller import surface_of

SURFACE = surface_of(osc_alias={"/layer1/opacity": "/mix/norm"})
TARGETS = Targets(SURFACE)


def test_every_address_and_alias_has_a_target() -> None:
    addresses, prefix = SURFACE.addresses, SURFACE.prefix
    for address in [*addresses.known, *addresses.commands, *addresses.aliases]:
        target = TARGETS.find(address)
        assert TARGETS.find(target.name) == target
        assert target.address == f"{prefix}/{target.name}"
        if target.kind == "number":
            assert target.low < target.high
            assert 0 < target.tick <= target.high - target.low
        if target.kind == "choice":
            assert len(TARGETS.choices(target)) > 1


def test_a_number_is_found_by_each_of_its_names() -> None:
    names = ("mix", "/streamcam/mix", "/streamcam/mix/norm", "mix/norm", "/layer1/opacity")
    assert {TARGETS.find(name).address for name in names} == {"/streamcam/mix"}
    target = TARGETS.find("guidance_scale")
    assert (target.low, target.high, target.norm) == (0, 4, "/streamcam/guidance_scale/norm")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("mixx", 'there is no "mixx": did you mean "/streamcam/mix'),
        ("/elsewhere", 'there is no "/elsewhere"'),
        ("prompt", "prompt takes more than a control sends"),
        ("midi/learn", "takes more than a control sends"),
    ],
)
def test_what_no_control_can_change_is_explained(address: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        TARGETS.check(Control("cc", 1), Assignment(address=address))
    assert str(error.value).startswith(reason) or reason in str(error.value)
