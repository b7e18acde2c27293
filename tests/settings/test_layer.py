from pathlib import Path

import pytest

from streamcam.cli.options import configured
from streamcam.errors import ConfigError
from streamcam.settings.config_layers import build_config
from streamcam.settings.layer import line_of
from streamcam.settings.presets import MODEL_SETTINGS_FILE

TOML = '''# width = 1
prompt = """
width = 2
"""
t_index_list = [
  1, 2,
]
"height" = 3
  width  = 4
osc_alias."/x" = "/y"
[lora]
seed = 0.5
width = 6
[video.kv_sinks]
"a" = 1
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("width", 9),
        ("height", 8),
        ("prompt", 2),
        ("t_index_list", 5),
        ("osc_alias", 10),
        ("lora", 11),
        ("video", 14),
        ("seed", None),
        ("kv_sinks", None),
        ("a", None),
        (".", None),
    ],
)
def test_the_line_of_a_setting_is_found_and_not_one_that_looks_like_it(
    key: str, line: int | None
) -> None:
    assert line_of(key, TOML) == line
    assert line_of(key, TOML.replace("\n", "\r\n")) == line


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    contents = {
        "a.toml": "width = 64\nheight = 100\n",
        "b.toml": "\nstrenght = 1\n",
        "c.toml": "num_inference_steps = 9\n",
        "d.toml": "\n\nt_index_list = [2, 9]\n",
        "e.toml": 'pipeline = "video"\nsteps = 9',
        "f.toml": "num_kv_cache = 0",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("presets", "assignments", "flags", "end"),
    [
        (("a.toml",), (), {}, "got 100 (a.toml, line 2)"),
        (("a.toml",), ("height=50",), {}, "got '50' (--set)"),
        (("a.toml",), (), {"height": "50"}, "got '50' (--height)"),
        (("b.toml",), (), {}, 'did you mean "strength"? (b.toml, line 2)'),
        (
            ("c.toml", "d.toml"),
            (),
            {},
            "the last index is 8 (t_index_list: d.toml, line 3; num_inference_steps: c.toml,"
            " line 1)",
        ),
        (("e.toml",), (), {}, "got 9 (pipeline: e.toml, line 1; steps: e.toml, line 2)"),
        (("f.toml",), (), {}, "got 0 (f.toml, line 1)"),
        (("d.toml",), ("steps=3",), {}, "fixed at start: 3 (t_index_list: d.toml, line 3; steps:"),
        ((), ("widht=1",), {}, 'did you mean "width"? (--set)'),
    ],
)
def test_a_refused_setting_says_where_it_was_given(
    files: Path,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    flags: dict[str, str],
    end: str,
) -> None:
    with pytest.raises(ConfigError) as refusal:
        configured(presets, assignments, flags)
    assert end in str(refusal.value)


def test_a_refused_setting_of_a_model_s_own_file_says_where_it_stands(files: Path) -> None:
    (files / MODEL_SETTINGS_FILE).write_text("width = 64\nstrength = 2.0\n")
    with pytest.raises(ConfigError, match=rf"\({files / MODEL_SETTINGS_FILE}, line 2\)"):
        build_config([{"model": str(files)}])
