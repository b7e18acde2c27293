from collections.abc import Iterator
from typing import Any

import pytest
from pythonoscquery.shared.osc_path_node import OSCPathNode

from streamcam.control.addresses import Row
from streamcam.control.messages import Message
from streamcam.control.oscquery.method import NAMES, Method
from streamcam.control.oscquery.namespace import Namespace
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config
from tests.control.osc.running_server import STATUS


@pytest.fixture(scope="module")
def surface() -> ControlSurface:
    config = build_config([{}])
    return ControlSurface(Control(config), config, print)


@pytest.fixture(scope="module")
def namespace(surface: ControlSurface) -> Namespace:
    return Namespace(surface, lambda: STATUS)


def methods(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in node.get("CONTENTS", {}).values():
        yield from methods(child) if "CONTENTS" in child else [child]


def test_a_client_of_others_reads_the_whole_tree(namespace: Namespace) -> None:
    tree = OSCPathNode.from_json(namespace.describe("/"))
    mix = tree.find_subnode("/streamcam/mix")
    assert mix.value == [1.0]
    assert mix.access == 3
    assert "Opacity" in mix.description


def test_every_address_of_its_own_is_in_the_tree(
    namespace: Namespace, surface: ControlSurface
) -> None:
    paths = {
        method["FULL_PATH"].removesuffix("/value") for method in methods(namespace.describe("/"))
    }
    listed = {row.address for row in surface.addresses.rows()}
    left_out = listed - paths
    assert all(surface.addresses.is_secondary(address) for address in left_out)
    assert {"/streamcam/mix/norm", "/streamcam/opacity"} <= left_out
    assert "/streamcam/stat/latency" in paths
    assert "/streamcam/preset/names" in paths


def test_no_node_is_a_container_and_a_method(namespace: Namespace) -> None:
    for method in methods(namespace.describe("/")):
        assert "CONTENTS" not in method
        assert len(method["TYPE"]) == len(method["VALUE"]), method
        for name in ("RANGE", "CLIPMODE", "UNIT"):
            assert len(method.get(name, method["TYPE"])) == len(method["TYPE"]), method


def test_every_number_that_can_be_set_has_a_range(namespace: Namespace) -> None:
    for method in methods(namespace.describe("/")):
        if method["TYPE"] in ("f", "i", "h") and method["ACCESS"] & 2:
            assert "MIN" in method["RANGE"][0], method


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/streamcam/mix", {"TYPE": "f", "RANGE": [{"MIN": 0, "MAX": 1}], "CLIPMODE": ["both"]}),
        ("/streamcam/mirror", {"TYPE": "T", "VALUE": [False], "ACCESS": 3}),
        ("/streamcam/rotate", {"TYPE": "s", "RANGE": [{"VALS": ["0", "90", "180", "270"]}]}),
        ("/streamcam/num_inference_steps", {"TYPE": "i", "RANGE": [{"MIN": 1, "MAX": 1000}]}),
        ("/streamcam/seed/value", {"TYPE": "h", "VALUE": [2], "RANGE": [{"MIN": 0}]}),
        ("/streamcam/seed/random", {"TYPE": "I", "ACCESS": 2}),
        ("/streamcam/prompt_time", {"UNIT": ["time.second"]}),
        ("/streamcam/prompt/fade", {"TYPE": "sf", "RANGE": [None, {"MIN": 0, "MAX": 600}]}),
        ("/streamcam/stat/latency/p95", {"TYPE": "f", "VALUE": [250.0], "UNIT": ["time.ms"]}),
        ("/streamcam/obs/live", {"TYPE": "T", "VALUE": [None], "ACCESS": 1}),
        ("/streamcam/stat/state", {"TYPE": "s", "VALUE": ["running"], "ACCESS": 1}),
        # Not in the tree, and answered all the same.
        ("/streamcam/mix/norm", {"TYPE": "f", "VALUE": [1.0]}),
    ],
)
def test_a_method_has_types_and_limits(
    namespace: Namespace, path: str, expected: dict[str, Any]
) -> None:
    found = namespace.describe(path)
    assert {name: found[name] for name in expected} == expected


def test_a_value_that_has_others_below_it_is_set_by_its_second_name(
    surface: ControlSurface,
) -> None:
    assert surface.apply([Message("/streamcam/seed/value", (77,))], "me").applied
    assert surface.control.target.seed == 77


def test_the_presets_are_the_choices_of_the_one_to_load(
    namespace: Namespace, surface: ControlSurface
) -> None:
    [range_] = namespace.describe("/streamcam/preset/load")["RANGE"]
    assert range_["VALS"] == list(surface.presets.names)
    assert "neon" in range_["VALS"]


def test_names_are_the_choices_wherever_one_is_taken(namespace: Namespace) -> None:
    held = {"/streamcam/cue/names": ("One", "Two"), "/streamcam/cue/lists": ("show",)}
    for path, choices in (("cue/jump", ["One", "Two"]), ("cue/load", ["show"])):
        found = namespace.describe(f"/streamcam/{path}", held)
        assert found["RANGE"] == [{"VALS": choices}]


def test_every_name_of_something_can_be_chosen(surface: ControlSurface) -> None:
    rows = {row.values: row.address for row in surface.addresses.rows() if ";" not in row.values}
    named = {words for words in rows if words.startswith("name of a ")}
    assert named - {"name of a scene"} == set(NAMES)
    values = {message.address for message in surface.values()}
    for name in NAMES.values():
        address = f"/streamcam/{name}"
        assert surface.addresses.command(address) or address in values


def test_rows_of_commands_are_read_in_the_same_words() -> None:
    tempo = Method.of_row(Row("/t/bpm", "both", "number", "20 – 999 bpm", "Tempo."), 1)
    assert (tempo.tags, tempo.limits[0], tempo.units) == ("f", (20, 999), ("time.bpm",))
    unit = Method.of_row(Row("/t/q", "both", "text or index", "off, beat, 2 bars", "When."), 1)
    assert unit.choices == ("off", "beat", "2 bars")
    names = Method.of_row(Row("/t/names", "out", "texts", "", "Names."), 1)
    assert names.attributes("/t/names", ("a", "b"), ())["TYPE"] == "ss"


def test_without_a_prefix_the_tree_begins_at_the_root() -> None:
    config = build_config([{"osc_prefix": ""}])
    namespace = Namespace(ControlSurface(Control(config), config, print), lambda: STATUS)
    assert namespace.describe("/mix")["VALUE"] == [1.0]
    assert OSCPathNode.from_json(namespace.describe("/")).find_subnode("/mix")
