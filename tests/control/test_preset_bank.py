from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from streamcam.control.addresses import Addresses
from streamcam.control.dispatcher import Dispatcher
from streamcam.control.messages import Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import MODEL_SETTINGS_FILE
from streamcam.system.paths import presets_folder

Presets = Callable[..., None]


@pytest.fixture
def write_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Presets:
    """Return a function that writes presets into the working folder, given as TOML by name."""
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(**presets: str) -> None:
        for name, text in presets.items():
            (tmp_path / "configs" / f"{name}.toml").write_text(text, encoding="utf-8")

    return write


class Live:
    """A broadcast of the settings given, to load presets into."""

    def __init__(self, **settings: Any) -> None:
        self.reports: list[str] = []
        config = build_config([settings])
        self.control = Control(config)
        self.presets = PresetBank(config, self.reports.append)
        self.dispatcher = Dispatcher(self.control, config, Addresses("/s"), self.presets)

    def load(self, *names: str) -> Parameters:
        for name in names:
            outcome = self.dispatcher.apply([Message("/s/preset/load", (name,))], "a client")
            assert outcome.refused == []
        return self.control.target

    def report_on(self, preset: str) -> list[str]:
        return [line for line in self.reports if line.startswith(f"preset {preset} ")]


def test_a_shipped_look_keeps_nothing_of_the_one_before() -> None:
    alone = Live(model="nano").load("duotone")
    assert Live(model="nano").load("watercolour", "duotone") == alone
    assert (alone.strength, alone.negative_prompt) == (0.2, (("", 1.0),))
    assert alone.prompt == (("purple and gold duotone", 1.0),)


def test_presets_are_read_again_on_request_once_a_second(
    write_presets: Presets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    yours = presets_folder()
    yours.mkdir(parents=True)
    now = [0.0]
    bank = PresetBank(build_config([{}]), print, lambda: now[0])
    for name in ("mine", "later"):
        (yours / f"{name}.toml").write_text('prompt = "a"')
        bank.refresh()
    assert "mine" in bank.names
    assert "later" not in bank.names
    write_presets(mine='prompt = "b"')
    now[0] += 1
    bank.refresh()
    assert "later" in bank.names
    assert bank.changes("mine")["prompt"] == (("b", 1.0),)


def test_presets_give_the_same_output_in_any_order(write_presets: Presets) -> None:
    write_presets(
        p1='prompt = "one"\nstrength = 0.9\nmix = 0.5\nmirror = true',
        p2='prompt = "two"\nt_index_list = [1, 3]\nnum_inference_steps = 4\nseed = 7',
        p3="guidance_scale = 3.0\nfps_limit = 10",
        p4='negative_prompt = "blurry"\nprompt_interpolation = "slerp"\nrotate = "90"',
    )
    names = ("p1", "p2", "p3", "p4")
    alone = {name: Live(seed=5).load(name) for name in names}
    assert len(set(map(str, alone.values()))) == len(names)
    for order in permutations(names):
        assert Live(seed=5).load(*order) == alone[order[-1]]
    assert (alone["p1"].seed, alone["p2"].seed) == (5, 7)
    assert (alone["p1"].num_inference_steps, alone["p2"].num_inference_steps) == (50, 4)
    assert (alone["p1"].mirror, alone["p3"].mirror) == (True, False)


def test_a_preset_sets_the_rest_of_the_look_to_the_model_s_defaults(
    write_presets: Presets, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    own = 'guidance_scale = 2.5\nprompt = "sketch"\nt_index_list = [40, 45]\n'
    (model / MODEL_SETTINGS_FILE).write_text(own)
    write_presets(bright='negative_prompt = "dark"', strong="strength = 0.9")
    live = Live(model=str(model), prompt="mine", guidance_scale=7, strength=0.1)
    after = live.load("bright")
    assert (after.guidance_scale, after.prompt) == (2.5, (("sketch", 1.0),))
    assert (after.t_index_list, after.strength) == ((40, 45), None)
    assert live.load("strong").t_index_list is None
    assert live.load("bright").strength is None


def test_what_is_no_part_of_any_preset_stays_as_the_operator_set_it(write_presets: Presets) -> None:
    write_presets(look='prompt = "x"')
    live = Live()
    live.control.change({"mix": 0.3, "mirror": True, "blackout": True, "seed": 9, "snapshot": 4})
    after = live.load("look")
    assert (after.mix, after.mirror, after.blackout, after.seed) == (0.3, True, True, 9)
    assert after.snapshot == 4


def test_one_load_can_be_refined_in_the_same_bundle(write_presets: Presets) -> None:
    write_presets(indices='prompt = "x"\nt_index_list = [30, 40]')
    live = Live()
    messages = [Message("/s/preset/load", ("indices",)), Message("/s/strength", (0.5,))]
    live.dispatcher.apply(messages, "a client")
    after = live.control.target
    assert (after.prompt, after.strength, after.t_index_list) == ((("x", 1.0),), 0.5, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('prompt = "x"\nstrength = 7', r"got 7 (configs/wrong.toml, line 2)"),
        ('prompt = "x"\n\nstrenght = 0.5', 'did you mean "strength"? (configs/wrong.toml, line 3)'),
        ("prompt = ", "configs/wrong.toml is not valid TOML"),
    ],
)
def test_a_wrong_preset_is_left_out_and_reported_with_its_file_and_line(
    write_presets: Presets, text: str, complaint: str
) -> None:
    write_presets(wrong=text, right='prompt = "x"')
    live = Live()
    (report,) = live.report_on("wrong")
    assert complaint in report
    assert "right" in live.presets.names
    assert "wrong" not in live.presets.names


def test_a_list_of_another_number_of_steps_is_passed_over_with_its_schedule(
    write_presets: Presets,
) -> None:
    write_presets(three='prompt = "x"\nt_index_list = [0, 1, 2]\nnum_inference_steps = 3')
    live = Live(steps=4)
    after = live.load("three")
    assert (after.t_index_list, after.num_inference_steps) == (None, 50)
    assert live.report_on("three") == []


def test_a_trigger_in_a_preset_is_not_pulled(write_presets: Presets) -> None:
    write_presets(bang='prompt = "x"\nsnapshot = 3\nreset = 1')
    after = Live().load("bang")
    assert (after.snapshot, after.reset) == (0, 0)


def test_a_preset_may_hold_scales_of_loras_that_are_not_here(write_presets: Presets) -> None:
    write_presets(mine='prompt = "neon"\nlora_scale = { sketch = 0.4, ink = 0.9 }\n')
    live = Live(lora={"loras/sketch.safetensors": 1.0, "loras/oil.safetensors": 1.0})
    assert live.load("mine").lora_scale == (("sketch", 0.4), ("oil", 1.0))
    assert live.control.target.prompt == (("neon", 1.0),)
    assert Live().load("mine").lora_scale == ()
