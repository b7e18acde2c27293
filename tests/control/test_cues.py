import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamcam.control.cues import Cues, read_cues
from streamcam.errors import MediaError, ParameterError
from streamcam.settings.config_layers import build_config

Opened = Callable[..., Cues]
CONFIG = build_config([{"t_index_list": [32, 45]}])


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Write lines to a file and read them as cues."""

    def cues(*lines: Any, encoding: str = "utf-8") -> Cues:
        path = tmp_path / "a.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts), encoding=encoding)
        return read_cues(path, CONFIG)

    return cues


def test_a_change_applies_from_its_frame_on(opened: Opened) -> None:
    cues = opened({"frame": 2, "seed": 7}, "", {"frame": 4, "prompt": "neon", "delta": 0.5})
    parameters, seen = CONFIG.live, []
    for frame in range(6):
        parameters = cues(frame, parameters)
        seen.append((parameters.seed, parameters.delta))
    assert seen == [(2, 1), (2, 1), (7, 1), (7, 1), (7, 0.5), (7, 0.5)]
    assert parameters.prompt == (("neon", 1.0),)


def test_cues_of_one_frame_apply_in_their_order_and_files_need_no_order(opened: Opened) -> None:
    cues = opened({"frame": 5, "seed": 1}, {"frame": 0, "seed": 9}, {"frame": 5, "seed": 2})
    assert cues(0, CONFIG.live).seed == 9
    assert cues(5, CONFIG.live).seed == 2


def test_a_file_from_windows_reads_the_same(opened: Opened) -> None:
    cues = opened('{"frame": 0, "seed": 1}\r', '{"frame": 1, "seed": 3}\r', encoding="utf-8-sig")
    assert (cues(0, CONFIG.live).seed, cues(1, CONFIG.live).seed) == (1, 3)


def test_a_prompt_may_hold_any_letter(opened: Opened) -> None:
    text = "a\u2028b\x85c \N{CAT}"
    cues = opened(json.dumps({"frame": 0, "prompt": text}, ensure_ascii=False))
    assert cues(0, CONFIG.live).prompt == ((text, 1.0),)


def test_many_cues_take_little_more_memory_than_their_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"frame": {n}, "delta": {n % 10 / 10}}}\n' for n in range(2000))
    tracemalloc.start()
    cues = read_cues(path, CONFIG)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < path.stat().st_size + 2000 * 100 + 100_000
    assert cues(1999, CONFIG.live).delta == 0.9


def test_a_cue_file_of_gigabytes_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.truncate(1 << 40)  # Sparse.
    with pytest.raises(MediaError, match=r"cannot read the cues .*: it is longer than 256,000 kB"):
        read_cues(tmp_path / "a.jsonl", CONFIG)


def test_no_cues_change_nothing(opened: Opened) -> None:
    assert opened("")(0, CONFIG.live) is CONFIG.live


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("seed 7", r'line 2 is not JSON; a cue is {"frame": 40, "seed": 7}'),
        ("[" * 60_000, r"line 2 is not JSON"),
        ('{"frame": 1, "seed": ' + "1" * 5000 + "}", r"line 2 is not JSON"),
        ("[1]", r'line 2 has no "frame"'),
        ({"seed": 7}, r'line 2 has no "frame"'),
        ({"frame": -1}, r'line 2 has no "frame"'),
        ({"frame": True}, r'line 2 has no "frame"'),
        ({"frame": 1.5}, r'line 2 has no "frame"'),
        ({"frame": 10**30}, r'line 2 has no "frame"'),
        ({"frame": 1, "sed": 7}, r'line 2: unknown parameter "sed": did you mean "seed"\?'),
        ({"frame": 1, "width": 64}, r'line 2: "width" is fixed at start'),
        ({"frame": 1, "delta": -1}, r"line 2: delta: .*got -1"),
        ({"frame": 1, "t_index_list": [45, 32]}, r"line 2: t_index_list must ascend"),
        ({"frame": 1, "t_index_list": [1, 2, 3]}, r"line 2: .*number of steps is fixed at start"),
        ({"frame": 1, "prompt": "x" * 270_000}, r"line 2: longer than 262144 characters"),
        ({"frame": 1, "prompt": "[" * 60_000}, r"line 2: prompt: a text takes at most 1000 bytes"),
        ('{"frame": 1, "delta": NaN}', r"line 2: delta: "),
    ],
)
def test_an_invalid_line_is_named_before_the_show_begins(
    opened: Opened, line: Any, complaint: str
) -> None:
    with pytest.raises(ParameterError, match=complaint) as caught:
        opened({"frame": 0, "seed": 1}, line)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot read the cues .*no\.jsonl: No such file"):
        read_cues(tmp_path / "no.jsonl", CONFIG)
    with pytest.raises(MediaError, match=r"cannot read the cues .*: Is a directory"):
        read_cues(tmp_path, CONFIG)
    (tmp_path / "a.jsonl").write_bytes(b"\xff")
    with pytest.raises(MediaError, match=r"cannot read the cues .*: it is not UTF-8 text"):
        read_cues(tmp_path / "a.jsonl", CONFIG)


def test_a_cue_for_a_fixed_setting_is_refused_as_such(opened: Opened) -> None:
    with pytest.raises(ParameterError, match='line 1: "cfg_type" is fixed at start'):
        opened({"frame": 3, "cfg_type": "none"})
