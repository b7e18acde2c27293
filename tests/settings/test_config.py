import os
import re
from pathlib import Path

import pytest

from streamcam.errors import ConfigError, ParameterError
from streamcam.settings import presets
from streamcam.settings.base import from_json
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config, with_model
from streamcam.settings.presets import (
    MODEL_SETTINGS_FILE,
    find_presets,
    load_preset,
    model_settings,
)


def test_later_layers_win_and_each_setting_finds_its_table() -> None:
    config = build_config([{"width": 64, "seed": 3}, {"width": 128, "prompt": "a"}, {"seed": "4"}])
    assert (config.width, config.height) == (128, 512)
    assert (config.live.seed, config.live.prompt) == (4, (("a", 1.0),))


def test_the_names_of_streamdiffusion_are_accepted_too() -> None:
    config = build_config([{"model_id_or_path": "a/b", "vae_id": "c/d", "lora_dict": {"e": 0.5}}])
    assert (config.model, config.vae, config.lora) == ("a/b", "c/d", {"e": 0.5})
    assert build_config([{"model": "x"}, {"model_id_or_path": "y"}]).model == "y"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"widht": 64}, r'unknown setting "widht": did you mean "width"\?'),
        ({"guidance": 2}, r'unknown setting "guidance": did you mean "guidance_scale"\?'),
        ({"dtype": "fp61"}, r"or 'int8' \(did you mean \"fp16\"\?\), got 'fp61'"),
        ({"zzz": 2}, r'unknown setting "zzz": among those known: '),
        ({"live": {}}, r'unknown setting "live"'),
        ({"width": 100}, r"width: must be a multiple of 8 \(the nearest is 96\), got 100"),
        ({"height": 4}, r"height: .*greater than or equal to 8"),
        ({"width": "wide"}, r"width: .*got 'wide'"),
        ({"width": 64.5}, r"width: .*got 64\.5"),
        ({"cfg_type": "half"}, r"cfg_type: .*'none', 'full', 'self' or 'initialize'.*got 'half'"),
        ({"device": "gpu"}, r"device: .*got 'gpu'"),
        ({"lora": {"a": "b"}}, r"lora: .*got 'b'"),
        ({"lora": ["a:0.5", "a:0.7"]}, "lora: a is named twice; name it once"),
        ({"embedding": {"a": "b c"}}, r'embedding: "b c" is no word'),
        ({"prompt_syntax": "a1111"}, r"prompt_syntax: .*'plain' or 'weighted', got 'a1111'"),
        ({"prompt_chunks": 9}, r"prompt_chunks: .*less than or equal to 8"),
        ({"t_index_list": [45, 32]}, r"t_index_list must ascend: 45,32 could be 32,45"),
        ({"t_index_list": [50]}, r"goes beyond the schedule"),
        ({"t_index_list": {}}, r"t_index_list: "),
        ({"t_index_list": [1, 2], "steps": 3}, r"has 2 entries, but .* fixed at start: 3"),
        ({"steps": 4, "num_inference_steps": 3}, r"4 steps need num_inference_steps of at least 4"),
        (
            {"cross_frame_attention": True, "use_denoising_batch": False},
            r"cross_frame_attention needs use_denoising_batch=true",
        ),
    ],
)
def test_an_invalid_value_is_explained_in_one_line(
    settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        build_config([settings])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_invalid_values_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"width: .*; height: "):
        build_config([{"width": 100, "height": 100}])


def test_the_number_of_steps_follows_the_list_that_was_given_last() -> None:
    assert build_config([{}]).num_steps == 2
    assert build_config([{"t_index_list": [1, 2, 3]}]).num_steps == 3
    assert build_config([{"steps": 4}, {"t_index_list": "1,2,3"}]).num_steps == 3
    assert build_config([{"t_index_list": [1, 2, 3]}, {"strength": 0.5}]).num_steps == 3
    assert build_config([{"t_index_list": [1, 2, 3]}, {"strength": 0.5, "steps": 1}]).num_steps == 1


def test_the_later_of_strength_and_t_index_list_wins() -> None:
    assert build_config([{"t_index_list": [1]}, {"strength": 0.5}]).live.t_index_list is None
    config = build_config([{"strength": 0.5}, {"t_index_list": [1]}])
    assert (config.live.strength, config.live.t_index_list) == (None, (1,))


def test_layers_are_checked_together_and_not_one_by_one() -> None:
    preset = {"t_index_list": [32, 45]}
    config = build_config([preset, {"num_inference_steps": 4}, {"t_index_list": "1,3"}])
    assert config.live.t_index_list == (1, 3)


def test_text_to_image_begins_at_pure_noise() -> None:
    assert build_config([{"mode": "txt2img"}]).indices(Config().live)[0] == 0
    assert build_config([{}]).indices(Config().live)[0] > 0


def model_folder(folder: Path, settings: str) -> str:
    folder.mkdir()
    (folder / MODEL_SETTINGS_FILE).write_text(settings)
    return str(folder)


def test_a_model_s_own_settings_are_defaults(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", "width = 256\nheight = 256\nsteps = 1\nstrength = 0.2\n")
    own = build_config([{"model": model}])
    assert (own.width, own.num_steps, own.indices(own.live)) == (256, 1, (40,))
    given = build_config([{"width": 128}, {"model": model, "t_index_list": [30, 40]}])
    assert (given.width, given.height, given.num_steps) == (128, 256, 2)
    assert build_config([{"model": model, "steps": 2}]).indices(own.live) == (40, 45)
    assert build_config([{"model": model}, {"model": "random:tiny-sd-turbo"}]).width == 512


def test_another_model_keeps_given_settings_and_sets_the_other_defaults(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", 'width = 256\nguidance_scale = 2.0\nprompt = "pencil"\n')
    other = with_model(build_config([{"prompt": "a", "sink": ["null"], "width": 512}]), model)
    assert (other.model, other.width, other.live.guidance_scale) == (model, 512, 2.0)
    assert (other.live.prompt, other.broadcast.sink) == ((("a", 1.0),), ("null",))


def test_a_model_may_not_set_settings_of_the_broadcast(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", 'sink = ["recorder:/etc/passwd"]\n')
    with pytest.raises(ConfigError, match=r'streamcam\.toml may not set "sink", but only p'):
        build_config([{"model": model}])
    (tmp_path / "m" / MODEL_SETTINGS_FILE).write_text("width = ")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        build_config([{"model": model}])


def test_a_model_s_own_faders_are_defaults_and_each_is_replaced_by_itself(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", "[faders]\nstrength = 0.35\ndelta = [0.5, 1.5]\n")
    own = build_config([{"model": model}])
    assert own.broadcast.faders == {"strength": (0, 0.35), "delta": (0.5, 1.5)}
    given = {"faders": '{"strength": 0.5, "num_inference_steps": [10, 50]}'}
    wanted = {"strength": (0, 0.5), "delta": (0.5, 1.5), "num_inference_steps": (10, 50)}
    assert build_config([given, {"model": model}]).broadcast.faders == wanted
    assert with_model(build_config([given]), model).broadcast.faders == wanted


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("strenght = 0.3", 'no fader is named "strenght": did you mean "strength"?'),
        ("prompt = 1", 'no fader is named "prompt"'),
        ("reset = 1", 'no fader is named "reset"'),
        ('strength = "high"', "strength takes a number for the upper end .* such as [0, 1]"),
        ("strength = true", "strength takes a number"),
        ("strength = nan", "strength takes a number"),
        ("strength = [0.1]", "or two for both ends"),
        ("strength = [[0], [1]]", "or two for both ends"),
        ("seed = 0.5", "seed takes a whole number"),
        ("strength = [0.8, 0.2]", "the lower end of strength, 0.8, has to be below .* 0.2"),
        ("strength = 0", "the lower end of strength, 0, has to be below"),
        ("strength = 4", "the ends of strength have to lie within its range: 0 – 1"),
        ("guidance_scale = [-1, 4]", "the ends of guidance_scale have to lie within"),
        (f"seed = 1{'0' * 400}", "the ends of seed have to lie within its range: at least 0"),
    ],
)
def test_a_model_s_wrong_faders_are_named_with_the_remedy(
    tmp_path: Path, lines: str, reason: str
) -> None:
    model = model_folder(tmp_path / "m", f"steps = 1\n[faders]\n{lines}\n")
    with pytest.raises(ConfigError) as error:
        build_config([{"model": model}, {"faders": {"delta": 1.5}}])
    line = str(error.value)
    assert line.startswith("faders: ")
    assert line.endswith("streamcam.toml, line 2)")
    assert "\n" not in line
    assert re.search(reason.replace("[0", r"\[0").replace("?", r"\?"), line), line


def test_faders_that_are_no_table_say_what_they_take(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", "faders = 0.5\n")
    with pytest.raises(ConfigError, match=r"takes numbers by the names of live settings, such as"):
        build_config([{"model": model}])


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "~nobody-at-all/x", "a/b"])
def test_a_model_name_that_is_no_folder_has_no_settings(name: str) -> None:
    assert model_settings(name, ()) == {}


def test_a_live_change_may_not_alter_the_number_of_steps() -> None:
    config = build_config([{"t_index_list": [32, 45]}])
    config.check(config.live.changed({"t_index_list": [10, 20]}))
    with pytest.raises(ParameterError, match=r"3 entries, but the number of steps is fixed .*: 2"):
        config.check(config.live.changed({"t_index_list": [10, 20, 30]}))
    with pytest.raises(ParameterError, match=r"2 steps need num_inference_steps of at least 2"):
        config.check(config.live.changed({"t_index_list": None, "num_inference_steps": 1}))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a/b:0.5", {"a/b": 0.5}),
        ("a/b", {"a/b": 1.0}),
        (("a:0.5", "b:2"), {"a": 0.5, "b": 2.0}),
        (r"C:\loras\a.safetensors", {r"C:\loras\a.safetensors": 1.0}),
        ('{"a": 0.5}', {"a": 0.5}),
        ('["a:0.5", "b"]', {"a": 0.5, "b": 1.0}),
    ],
)
def test_loras_are_read_with_their_scales(given: object, wanted: dict[str, float]) -> None:
    assert build_config([{"lora": given}]).lora == wanted


def test_offline_follows_the_hub_s_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Config().offline
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not Config().offline


def test_a_toml_file_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a b.toml"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text('prompt = "ä"\nwidth = 64\n', encoding=encoding)
        assert load_preset(str(path)) == {"prompt": "ä", "width": 64}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a = 1\nwidth = x", r"a\.toml is not valid TOML: .*line 2"),
        (b"width = 1\nwidth = 2\n", r"is not valid TOML"),
        (b"a = " + b"[" * 50_000, r"is not valid TOML"),
        (b"\xff\xfe", r"cannot read .*a\.toml: it is not UTF-8 text"),
        ("width = 8".encode("utf-16"), r"cannot read .*a\.toml: it is not UTF-8 text"),
        (b"width = 8\x00", r"is not valid TOML: .*line 1"),
        (b"seed = " + b"1" * 5000, r"a\.toml is not valid TOML: a number has too many digits"),
        (b"# " + b"x" * 100_000, r"it is longer than 100 kB"),
    ],
)
def test_a_damaged_toml_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        build_config([load_preset(str(path))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("width = 0x" + "f" * 6000, r"width: .*got a int too long to show \(.*a\.toml, line 1\)"),
        ("\nfps = 0x" + "f" * 6000, r"fps: .*\(.*a\.toml, line 2\)"),
        ("vae" + ".a" * 2000 + " = 1", r"vae: .*got .*\(.*a\.toml, line 1\)"),
        ("strength = 1979-05-27", r"strength: .*got .*\(.*a\.toml, line 1\)"),
        ("model = 0x" + "f" * 6000, r"model: .*got a int too long to show \(.*a\.toml, line 1\)"),
        ("model = " + "[" * 90 + "]" * 90, r"model: .*got \[.*\(.*a\.toml, line 1\)"),
        ("lora = [1]", r"lora: .*got \[1\] \(.*a\.toml, line 1\)"),
        (f"osc_allow = [{', '.join(['1'] * 500)}]", r"osc_allow: .*; and 495 more"),
        (f't_index_list = ["{"9" * 4000}"]', r"t_index_list 9999.*\.\.\."),
        (f'osc_allow = "{"x" * 9000}"', r"osc_allow: .*\(.*a\.toml, line 1\)"),
        ('device = "cuda:1000"', r"device: .*got 'cuda:1000' \(.*a\.toml, line 1\)"),
        ("mirror = nan", r"mirror: .*got nan \(.*a\.toml, line 1\)"),
    ],
)
def test_a_value_that_no_setting_can_hold_is_refused_in_one_short_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        build_config([load_preset(str(path))])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_in_place_of_a_preset_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(ConfigError, match=r"a\.toml: it is a pipe, not a file"):
        load_preset(str(tmp_path / "a.toml"))


def test_a_name_with_a_null_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*null"):
        load_preset("a\0.toml")


def test_a_foreign_project_file_next_to_the_package_hides_no_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "streamcam"
    (package / "configs").mkdir(parents=True)
    (package / "configs" / "look.toml").write_text('prompt = "x"')
    (package.parent / "pyproject.toml").touch()
    (package.parent / "configs").mkdir()
    monkeypatch.setattr(presets, "__file__", str(package / "settings" / "presets.py"))
    monkeypatch.chdir(tmp_path)
    assert set(find_presets()) == {"look"}


def test_a_look_of_nano_that_is_no_preset_is_named_as_a_prompt() -> None:
    with pytest.raises(ConfigError, match='nano knows it as a prompt: run --prompt "Pixel art"'):
        load_preset("Pixel art")


def test_a_missing_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'no preset "pencl": did you mean "pencil"\?'):
        load_preset("pencl")
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load_preset(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load_preset(str(tmp_path / "folder.toml"))


def test_presets_in_the_working_folder_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pencil.toml").write_text("width = 8")
    monkeypatch.chdir(tmp_path)
    assert load_preset("pencil") == {"width": 8}


@pytest.mark.parametrize("name", sorted(find_presets()))
def test_every_shipped_preset_is_valid(name: str) -> None:
    build_config([load_preset(name)])


@pytest.mark.parametrize("text", ["[1,", "[" * 100_000, "{", "[" + "1" * 5000 + "]"])
def test_a_text_that_only_looks_like_json_is_left_unchanged(text: str) -> None:
    assert from_json(text) == text


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (30, "30"),
        (29.97, "30000/1001"),
        (59.94, "60000/1001"),
        (23.976, "24000/1001"),
        (12.5, "25/2"),
    ],
)
def test_the_rates_of_television_are_exact(fps: float, rate: str) -> None:
    assert str(build_config([{"fps": fps}]).broadcast.rate) == rate


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("style.safetensors", {"style.safetensors": ""}),
        (["style.safetensors:<x>"], {"style.safetensors": "<x>"}),
        (["user/repo/a.safetensors:style", "b"], {"user/repo/a.safetensors": "style", "b": ""}),
        ([r"C:\style.safetensors"], {r"C:\style.safetensors": ""}),
        ([r"C:\style.safetensors:x"], {r"C:\style.safetensors": "x"}),
        ('["a:x"]', {"a": "x"}),
        ({"a": "x"}, {"a": "x"}),
    ],
)
def test_an_embedding_is_a_file_and_the_word_for_it(given: object, wanted: object) -> None:
    assert build_config([{"embedding": given}]).embedding == wanted
