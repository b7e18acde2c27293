"""Surfaces for TouchOSC and TouchDesigner: in step with the table, and what they send is taken."""

import importlib.util
import re
import zlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from streamcam.control.addresses import Addresses
from streamcam.control.messages import Message
from streamcam.control.osc.queries import QUERIES
from streamcam.settings.parameters import NAMED_FIELDS, Parameters
from tests.control.midi.controller import surface_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "controllers"
PREFIX = "/streamcam"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("controllers", ROOT / "docs" / "controllers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layout_for_touchosc_is_up_to_date(made: ModuleType) -> None:
    # Builds of zlib compress to other bytes.
    stored = zlib.decompress((FOLDER / made.TOUCHOSC).read_bytes())
    assert stored == zlib.decompress(made.touchosc())


def test_every_address_in_the_layout_is_known(made: ModuleType) -> None:
    addresses = Addresses(PREFIX)
    root = ElementTree.fromstring(zlib.decompress((FOLDER / made.TOUCHOSC).read_bytes()))
    paths = [
        "".join(value.text or "" for value in path.iter("value")) for path in root.iter("path")
    ]
    for path in paths:
        assert addresses.find(path) or path.removeprefix(f"{PREFIX}/") in QUERIES, path
    for name in ("guidance_scale/norm", "guidance_scale", "panic", "snapshot", "preset/next"):
        assert f"{PREFIX}/{name}" in paths


def test_the_script_for_touchdesigner_is_up_to_date(made: ModuleType) -> None:
    stored = (FOLDER / made.TOUCHDESIGNER).read_text(encoding="utf-8")
    assert stored == made.touchdesigner()


class FakePar(SimpleNamespace):
    """One custom parameter, of a kind; fields are those that the script sets."""

    def eval(self) -> Any:
        return self.val

    @property
    def menuIndex(self) -> int:
        return int(self.menuNames.index(self.val))


class FakeOperator:
    """An operator of TouchDesigner, as far as the script knows it."""

    def __init__(self, kind: str = "", name: str = "") -> None:
        self.kind, self.name = kind, name
        self.par = SimpleNamespace(address="", port=0)
        self.children: dict[str, FakeOperator] = {}
        self.pars: list[FakePar] = []
        self.sent: list[Message] = []
        self.text = ""

    def op(self, name: str) -> "FakeOperator | None":
        return self.children.get(name)

    def create(self, kind: str, name: str) -> "FakeOperator":
        return self.children.setdefault(name, FakeOperator(kind, name))

    def destroy(self) -> None:
        raise AssertionError("nothing of that name was there")

    def appendCustomPage(self, name: str) -> "FakeOperator":
        page = FakeOperator("page", name)
        page.pars = self.pars
        return page

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("append"):
            raise AttributeError(name)
        kind = name.removeprefix("append")

        def append(name: str, label: str) -> list[FakePar]:
            assert re.fullmatch("[A-Z][a-z0-9]*", name), name
            assert all(other.name != name for other in self.pars), name
            par = FakePar(name=name, label=label, val=0, kind=kind)
            par.isMenu, par.isToggle = kind == "Menu", kind == "Toggle"
            self.pars.append(par)
            return [par]

        return append

    def sendOSC(self, address: str, values: list[Any]) -> None:
        self.sent.append(Message(address, tuple(values)))


def test_the_component_for_touchdesigner_sends_what_streamcam_takes(made: ModuleType) -> None:
    parent = FakeOperator()
    kinds = {name: name for name in ("baseCOMP", "oscoutDAT", "parameterexecuteDAT")}
    script = made.touchdesigner().replace("SPANS = {}", 'SPANS = {"/streamcam/strength": (0, 0.6)}')
    exec(script, {"me": SimpleNamespace(parent=lambda: parent), **kinds})
    component = parent.children["streamcam"]
    out, send = component.children["oscout"], component.children["send"]
    assert (out.par.address, out.par.port) == ("127.0.0.1", 9000)
    callbacks: dict[str, Any] = {"op": component.op}
    exec(send.text, callbacks)
    for par in component.pars:
        callbacks["onPulse"](par) if par.kind == "Pulse" else callbacks["onValueChange"](par, None)
    outcome = surface_of().apply(out.sent, "touchdesigner")
    assert outcome.refused == []
    assert outcome.unknown == []
    names = {message.address.removeprefix(f"{PREFIX}/") for message in out.sent}
    # What numbers by name are for is known only once something is named.
    assert set(Parameters.model_fields) - names == {"t_index_list", *NAMED_FIELDS}
    guidance = next(par for par in component.pars if par.name == "Guidancescale")
    assert (guidance.normMin, guidance.normMax, guidance.min, guidance.max) == (0, 4, 0, 30)
    strength = next(par for par in component.pars if par.name == "Strength")
    assert (strength.normMin, strength.normMax, strength.min, strength.max) == (0, 0.6, 0, 1)
