"""``streamcam config``: shown settings are read back, every checked file gets an answer."""

import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam import cli
from streamcam.cli.config_command import config, toml
from streamcam.errors import ConfigError
from streamcam.settings.base import Settings
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config
from streamcam.settings.config_layers import build_config, with_model
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets, load_preset
from streamcam.settings.video_settings import VideoSettings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WEIGHTED = st.tuples(TEXTS, st.floats(0.001, 1000))


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(config, ["show", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    texts=st.lists(st.tuples(TEXTS, st.floats(0.001, 1000)), min_size=1, max_size=4), alias=TEXTS
)
def test_shown_settings_are_read_back_for_any_texts(
    texts: list[tuple[str, float]], alias: str
) -> None:
    given_ = build_config([{"prompt": texts, "osc_alias": {alias: "/mix"}, "snapshots": alias}])
    assert build_config([tomllib.loads(toml(given_))]) == given_


@pytest.mark.parametrize("text", ['["a", "b"]', "{}", '"""', "a\nb\r\tc", "\x00\x7f\x85", "\u2028"])
def test_texts_that_look_like_something_else_come_back_as_they_were(text: str) -> None:
    given_ = build_config([{"prompt": [[text, 1.0]]}])
    assert build_config([tomllib.loads(toml(given_))]) == given_


@pytest.mark.parametrize("name", sorted(find_presets()))
def test_every_preset_comes_back_from_its_toml(name: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(shown(name), encoding="utf-8")
    assert build_config([load_preset(str(path))]) == build_config([load_preset(name)])


def test_the_settings_of_every_kind_come_back() -> None:
    given_: dict[str, Any] = {
        "lora": {"a.safetensors": 0.5, "b": 1.0},
        "sink": ["null", "recorder:a.mkv"],
        "canvas": "640x360",
        "t_index_list": [10, 20, 30],
        "osc_rate": 1e-5 + 1,
        "seed": 2**63 - 1,
        "mirror": True,
        "rotate": "90",
    }
    assert build_config([tomllib.loads(toml(build_config([given_])))]) == build_config([given_])


OTHER_VALUES: dict[str, Any] = {
    "t_index_list": [3, 4],
    "strength": 0.7,
    "steps": 3,
    "model": "some/model",
    "vae": "some/vae",
    "lora": {'a "b".safetensors': 0.5},
    "use_lcm_lora": False,
    "engine_wait": False,
    "engine_dir": "~/engines",
    "osc_alias": {"/x": "/mix"},
    "denoising_steps": [900, 100],
    "prompt": [["a", 0.5], ["b", 2]],
    "seed": 2**63 - 1,
}


@pytest.mark.parametrize("table", [Config, BroadcastSettings, VideoSettings, Parameters])
def test_a_run_with_the_shown_settings_is_the_same_run(table: type[Settings]) -> None:
    """For every setting, given as its default or another value, also once a model is chosen."""
    for name, field in table.model_fields.items():
        default = field.get_default(call_default_factory=True)
        values = [value for value in (default, OTHER_VALUES.get(name)) if value is not None]
        for value in values if name not in PARTS else ():
            given_ = build_config([{name: value}])
            back = build_config([tomllib.loads(toml(given_))])
            assert back == given_
            assert with_model(back, "nano") == with_model(given_, "nano"), name


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp932"])
def test_shown_texts_come_back_in_any_encoding_of_the_terminal(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shown.toml"
    with path.open("w", encoding=encoding) as file:
        monkeypatch.setattr(sys, "stdout", file)
        group = click.Group(commands={"config": config})
        words = ["config", "show", "--set", "prompt=Käse 猫 🐱", "--set", "source=a\udcff"]
        assert cli._run(lambda **options: group.main(words, **options)) == 0
    back = build_config([load_preset(str(path))])
    assert back.live.prompt == (("Käse 猫 🐱", 1.0),)
    assert back.broadcast.source == "a\ufffd"


def test_shown_settings_leave_the_model_s_own_defaults_alone() -> None:
    back = build_config([tomllib.loads(shown())])
    assert with_model(back, "nano") == with_model(build_config([{}]), "nano")
    assert with_model(back, "nano").width == 256
    given_ = build_config([tomllib.loads(shown("--set", "width=512"))])
    assert with_model(given_, "nano").width == 512


def test_settings_that_differ_from_the_default_are_marked() -> None:
    lines = shown("neon", "--set", "guidance_scale=3", "--set", "canvas=640x360").splitlines()
    assert "guidance_scale = 3.0  # default: 1.2" in lines
    assert "canvas = [640, 360]  # default: [1280, 720]" in lines
    assert "strength = 0.55  # default: none" in lines
    assert 'negative_prompt = "daylight, blurry"  # default: ""' in lines
    assert "# delta = 1.0" in lines
    assert "# t_index_list =" in lines


def test_passwords_are_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    url = "rtsp://us3r:s3cret@host/live?token=t0ken"
    words = ["show", "--set", f"source={url}", "--set", "prompt=http://a:b@c"]
    code, out, err = run(words, capsys)
    assert code == 0
    assert 'source = "rtsp://host/live"' in out
    assert "--secrets" in err
    assert not any(secret in out + err for secret in ("us3r", "s3cret", "t0ken"))
    assert 'prompt = "http://a:b@c"' in out
    _, out, err = run([*words, "--secrets"], capsys)
    assert f'source = "{url}"' in out
    assert err == ""


def test_an_error_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--set", "sorce=rtsp://us3r:s3cret@host"], ["--sorce=rtsp://us3r:s3cret@host"]):
        code, out, err = run(["show", *words], capsys)
        assert code == 2
        assert "s3cret" not in out + err


def test_every_live_setting_is_shown() -> None:
    text = shown()
    assert all(f"\n{name} =" in text or f"\n# {name} =" in text for name in Parameters.model_fields)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    group = click.Group(commands={"config": config})
    code = cli._run(lambda **options: group.main(["config", *arguments], **options))
    return (code, *capsys.readouterr())


def test_check_reports_every_file_and_fails_if_one_is_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("guidance_scal = 1", encoding="utf-8")
    code, out, err = run(["check", "neon", str(wrong), "nope"], capsys)
    first, second, third = out.splitlines()
    assert code == 2
    assert first == "neon: ok"
    hint = 'unknown setting "guidance_scal": did you mean "guidance_scale"?'
    assert second == f"{wrong}: {hint} ({wrong}, line 1)"
    assert third.startswith('nope: no preset "nope"')
    assert err == "streamcam: 2 of 3 are invalid\n"


def test_check_resolves_osc_aliases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alias = tmp_path / "alias.toml"
    alias.write_text('osc_alias = { "/x" = "/opcity" }', encoding="utf-8")
    code, out, _ = run(["check", str(alias)], capsys)
    assert code == 2
    assert 'did you mean "/streamcam/opacity"?' in out


def test_check_prints_only_ok_for_valid_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "neon", "oil"], capsys) == (0, "neon: ok\noil: ok\n", "")


def test_show_refuses_an_invalid_value_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["show", "--set", "delta=11"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("streamcam: delta: ")
    assert err.endswith("(--set)\n")
    with pytest.raises(ConfigError):
        build_config([{"delta": 11}])


def test_the_token_of_the_page_is_shown_only_if_it_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["show", "--set", "web_token=s3cret-t0ken"]
    _, out, err = run(words, capsys)
    assert "s3cret" not in out + err
    assert 'web_token = "s3cret-t0ken"' in run([*words, "--secrets"], capsys)[1]
