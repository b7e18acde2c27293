"""``streamcam render`` in this process; signals are tested in test_render_stopped."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from streamcam.cli import _run, streamcam
from streamcam.cli.render import render as command
from tests.support.media import (
    RED,
    decoded,
    encode,
    noise,
    numbered,
    plain,
    read,
    run_script,
    sound,
    write,
)

Render = Callable[..., tuple[int, str]]
EAGER = ("--dtype", "float32", "--acceleration", "eager")
TINY = ("--model", "random:tiny-sd-turbo", "--width", "64", "--height", "64", *EAGER)


@pytest.fixture
def render(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Render:
    """Run ``streamcam render`` on the tiny model; return the exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        words = ["render", *TINY, *map(str, arguments)]
        code = _run(lambda **options: streamcam.main(words, **options))
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("output", ["b.mkv", "b.mp4", "b.webm", "b.npy", "b"])
@pytest.mark.parametrize("input_name", ["a.mkv", "a.npy", "a"])
def test_as_many_frames_come_out_as_go_in(
    tmp_path: Path, render: Render, input_name: str, output: str
) -> None:
    write(tmp_path / input_name, noise(7))
    code, errors = render(input_name, output)
    assert (code, "b" in errors, len(errors.splitlines())) == (0, True, 3)
    frames = read(tmp_path / output)
    assert [frame.index for frame in frames] == list(range(7))
    assert {frame.image.shape for frame in frames} == {(64, 64, 3)}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([input_name, output])


@pytest.mark.parametrize("output", ["b.png", "b.jpg", "b.npy", "b.mp4", "ä b [red]"])
def test_one_image_gives_one_image(tmp_path: Path, render: Render, output: str) -> None:
    write(tmp_path / "ä é.png", noise(1))
    code, errors = render("ä é.png", output)
    assert (code, f"{output}: 1 frames" in errors) == (0, True)
    assert len(read(tmp_path / output)) == 1


@pytest.mark.parametrize("settings", [(), ("--set", "frame_buffer_size=3"), ("--set", "steps=4")])
def test_no_frame_is_lost_when_frames_run_in_batches(
    tmp_path: Path, render: Render, settings: tuple[str, ...]
) -> None:
    assert render("pattern", "b.npy", "--frames", 10, *settings)[0] == 0
    assert np.load(tmp_path / "b.npy").shape == (10, 64, 64, 3)


def test_text_to_image_renders_the_given_number_of_frames(tmp_path: Path, render: Render) -> None:
    assert render("b", "--frames", 6, "--prompt", "a cat")[0] == 0
    frames = read(tmp_path / "b")
    assert len(frames) == 6
    assert not np.array_equal(frames[0].image, frames[5].image)


def test_frames_stop_a_longer_input(tmp_path: Path, render: Render) -> None:
    write(tmp_path / "a.mkv", noise(20))
    assert render("a.mkv", "b.mkv", "--frames", 5)[0] == 0
    assert decoded(tmp_path / "b.mkv") == 5


def test_a_video_keeps_its_rate_and_images_get_the_one_of_fps(
    tmp_path: Path, render: Render
) -> None:
    write(tmp_path / "a", noise(4))
    assert render("a", "b.mp4", "--fps", "25")[0] == 0
    assert render("b.mp4", "c.mkv", "--fps", "50")[0] == 0
    times = [frame.captured_at for frame in read(tmp_path / "c.mkv")]
    assert times == pytest.approx([0, 0.04, 0.08, 0.12], abs=0.001)


@pytest.mark.parametrize("output", ["mkv", "mp4", "webm", "npy"])
def test_rendering_twice_gives_the_same_bytes(tmp_path: Path, render: Render, output: str) -> None:
    write(tmp_path / "a.mkv", noise(12))
    for name in ("b", "c"):
        assert render("a.mkv", f"{name}.{output}")[0] == 0
    assert (tmp_path / f"b.{output}").read_bytes() == (tmp_path / f"c.{output}").read_bytes()


def test_cues_change_the_output_from_their_frame_on(tmp_path: Path, render: Render) -> None:
    write(tmp_path / "a.npy", numbered([plain(RED)] * 8))
    (tmp_path / "cues.jsonl").write_text(json.dumps({"frame": 4, "prompt": "neon", "seed": 9}))
    one_step = ("--set", "steps=1")
    assert render("a.npy", "b.npy", *one_step)[0] == 0
    assert render("a.npy", "c.npy", *one_step, "--cues", "cues.jsonl")[0] == 0
    without, with_cues = np.load(tmp_path / "b.npy"), np.load(tmp_path / "c.npy")
    assert np.array_equal(without[:4], with_cues[:4])
    assert not np.array_equal(without[4], with_cues[4])


def test_presets_flags_and_assignments_win_in_this_order(tmp_path: Path, render: Render) -> None:
    (tmp_path / "look.toml").write_text("width = 8\nheight = 8\nprompt = 'a'\nseed = 1\n")
    # The flags of `render` here say 64 x 64.
    arguments = ("pattern", "b.npy", "--frames", 2, "--config", "look.toml", "--set", "height=32")
    assert render(*arguments)[0] == 0
    assert np.load(tmp_path / "b.npy").shape == (2, 32, 64, 3)


# (arguments, exit code, message); the files are made by `write_inputs`.
INVALID = [
    (("none.mp4", "b.mp4"), 1, "no such input: none.mp4"),
    (("empty.mp4", "b.mp4"), 1, "cannot read empty.mp4: "),
    (("cut.mp4", "b.mp4"), 1, "cannot read cut.mp4: "),
    (("a.wav", "b.mp4"), 1, "a.wav has no video track"),
    (("a.txt", "b.mp4"), 1, "a.txt"),
    (("empty.png", "b.png"), 1, "cannot read the image empty.png"),
    (("nothing", "b"), 1, "no images in nothing; it should hold .png"),
    (("grey.npy", "b.npy"), 1, "frames must be (T, H, W, 3) uint8 RGB"),
    (("float.npy", "b.npy"), 1, "frames must be (T, H, W, 3) uint8 RGB"),
    (("a.mkv", "no/b.mkv"), 1, "/no; make it first"),
    (("a.mkv", "full"), 1, "full exists and is not an empty folder; choose another name"),
    (("a.mkv", "b.gif"), 1, "cannot write b.gif: known are .mkv"),
    (("a.mkv", "b.png"), 1, "b.png holds one image, but there are more frames; name a folder"),
    (("b.png", "--frames", "2"), 1, "b.png holds one image, but there are more frames"),
    (("a.mkv", "."), 1, "is no name for a file"),
    (("a.mkv", "a.mkv"), 1, "a.mkv would be written over a.mkv; choose another name"),
    (("c.partial.mkv", "c.mkv"), 1, "c.mkv would be written over c.partial.mkv"),
    (("d.partial", "d"), 1, "d would be written over d.partial; choose another name"),
    (("d.partial/1.png", "d"), 1, "d would be written over d.partial/1.png"),
    (("p.npy", "--frames", "2"), 1, "p.npy exists; choose another name"),
    (("pattern", "p.npy", "--frames", "2"), 1, "p.npy exists; choose another name"),
    (("a.mkv", "link.mkv"), 1, "link.mkv would be written over a.mkv; choose another name"),
    (("a.mkv", "hard.mkv", "--overwrite"), 1, "hard.mkv would be written over a.mkv; choose"),
    (("link.mkv", "a.mkv", "--overwrite"), 1, "a.mkv would be written over link.mkv; choose"),
    (("a.mkv", "a.mkv", "--overwrite"), 1, "a.mkv would be written over a.mkv; choose"),
    (("e", "e/000001.png", "--overwrite"), 1, "e/000001.png would be written over e; choose"),
    (("e", "of_e.png", "--overwrite"), 1, "of_e.png would be written over e; choose another"),
    (("a.mkv", "cues.npy", "--cues", "cues.npy", "--overwrite"), 1, "would be written over cues"),
    (("a.mkv", "full", "--overwrite"), 1, "full exists and is not an empty folder; choose"),
    (("a.mkv", "b.mkv", "--cues", "none.jsonl"), 1, "cannot read the cues none.jsonl: No such"),
    (("a.mkv", "b.mkv", "--cues", "cues.jsonl"), 2, "cues.jsonl, line 1: delta: "),
    (("a.mkv", "b.mkv", "--set", "widht=64"), 2, '"widht": did you mean "width"?'),
    (("a.mkv", "b.mkv", "--set", "width"), 2, '--set takes KEY=VALUE, got "width"'),
    (("a.mkv", "b.mkv", "--width", "100"), 2, "width: must be a multiple of 8 (the nearest is 96)"),
    (("a.mkv", "b.mkv", "--t-index-list", "45,32"), 2, "t_index_list must ascend"),
    (("a.mkv", "b.mkv", "--t-index-list", "32,50"), 2, "the last index is 49"),
    (("a.mkv", "b.mkv", "--config", "bad.toml"), 2, "bad.toml is not valid TOML: "),
    (("a.mkv", "b.mkv", "--config", "unknown.toml"), 2, 'unknown setting "promt": did you mean'),
    (("a.mkv", "b.mkv", "--config", "pencl"), 2, 'did you mean "pencil"?'),
    (("a.mkv", "b.mkv", "--fps", "fast"), 2, "--fps takes a rate such as 25 or 30000/1001"),
    (("a.mkv", "b.mkv", "--fps", "0"), 2, "--fps takes a rate"),
    (("a.mkv", "b.mkv", "--fps", "1e-9"), 2, "--fps takes a rate"),
    (("a.mkv", "b.mkv", "--frames", "0"), 2, "'--frames'"),
    (("a.mkv", "b.mkv", "--bogus"), 2, "--bogus"),
    (("b.mkv",), 2, "set the number of frames with --frames"),
    (("pattern", "b.mkv"), 2, "set the number of frames with --frames"),
    ((), 2, "render takes INPUT and OUTPUT"),
    (("a.mkv", "b.mkv", "c.mkv"), 2, "render takes INPUT and OUTPUT"),
]


def write_inputs(folder: Path) -> None:
    """Write the files that `INVALID` names into `folder`."""
    for name in ("a.mkv", "c.partial.mkv", "d"):
        write(folder / name, noise(3))
    (folder / "d").rename(folder / "d.partial")
    (folder / "d.partial" / "000000.png").rename(folder / "d.partial" / "1.png")
    cut = encode(folder / "cut.mp4", [frame.image for frame in noise(3)])
    cut.write_bytes(cut.read_bytes()[:2000])
    sound(folder / "a.wav", "pcm_s16le")
    (folder / "a.txt").write_text("hello\n" * 50)
    for name in ("empty.mp4", "empty.png"):
        (folder / name).touch()
    for name in ("nothing", "full"):
        (folder / name).mkdir()
    (folder / "full" / "mine").touch()
    np.save(folder / "grey.npy", np.zeros((4, 8, 8), np.uint8))
    np.save(folder / "float.npy", np.zeros((4, 8, 8, 3), np.float32))
    (folder / "cues.jsonl").write_text('{"frame": 0, "delta": -1}')
    (folder / "cues.npy").write_text('{"frame": 0, "seed": 1}')
    np.save(folder / "p.npy", np.zeros((2, 8, 8, 3), np.uint8))
    write(folder / "e", noise(3))
    (folder / "e" / "lost.png").symlink_to("nowhere.png")
    (folder / "link.mkv").symlink_to("a.mkv")
    (folder / "hard.mkv").hardlink_to(folder / "a.mkv")
    (folder / "of_e.png").hardlink_to(folder / "e" / "000002.png")
    (folder / "bad.toml").write_text("width = ")
    (folder / "unknown.toml").write_text("promt = 'a'")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_errors_are_one_line_and_are_found_before_torch_is_imported(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    before = contents(tmp_path)
    script = """
        import json, os
        from click import echo
        from streamcam.cli import _run, streamcam
        os.chdir(path)
        for words in json.loads(sys.argv[2]):
            echo(_run(lambda **options: streamcam.main(["render", *words], **options)), err=True)
        print(sorted({"torch", "diffusers"} & set(sys.modules)), file=sys.stderr)
    """
    *lines, imported = run_script(
        script, tmp_path, json.dumps([words for words, *_ in INVALID]), errors=True
    ).splitlines()
    assert imported == "[]"
    results = list(zip(lines[::2], map(int, lines[1::2]), strict=True))
    assert len(results) == len(INVALID), lines
    for (line, code), (words, expected_code, message) in zip(results, INVALID, strict=True):
        assert line.startswith("streamcam: ")
        assert (message in line, code) == (True, expected_code), (words, line)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("output", ["b.mkv", "b.mp4", "b.npy", "b"])
def test_a_damaged_frame_is_reported_and_leaves_no_output(
    tmp_path: Path, render: Render, output: str
) -> None:
    write(tmp_path / "a", noise(9))
    (tmp_path / "a" / "000005.png").write_bytes(b"damaged")
    code, errors = render("a", output)
    assert code == 1
    assert errors.splitlines()[-1].startswith("streamcam: cannot read the image a/000005.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_damaged_frame_leaves_an_earlier_output_unchanged(tmp_path: Path, render: Render) -> None:
    write(tmp_path / "a", noise(9))
    assert render("a", "b.mp4")[0] == 0
    before = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "a" / "000005.png").write_bytes(b"damaged")
    assert render("a", "b.mp4", "--overwrite")[0] == 1
    assert (tmp_path / "b.mp4").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b.mp4"]


def test_an_existing_output_is_replaced_on_request_alone(tmp_path: Path, render: Render) -> None:
    write(tmp_path / "a.npy", noise(2))
    (tmp_path / "b.npy").write_bytes(b"mine")
    code, errors = render("a.npy", "b.npy")
    assert (code, "b.npy exists; choose another name, or replace it with" in errors) == (1, True)
    assert (tmp_path / "b.npy").read_bytes() == b"mine"
    assert render("a.npy", "b.npy", "--overwrite")[0] == 0
    assert len(np.load(tmp_path / "b.npy")) == 2


def test_frames_of_different_sizes_are_all_fitted(tmp_path: Path, render: Render) -> None:
    (tmp_path / "a").mkdir()
    for index, size in enumerate([(33, 17), (64, 64), (200, 10)]):
        Pillow.new("RGB", size, "red").save(tmp_path / "a" / f"{index}.png")
    assert render("a", "b.npy")[0] == 0
    assert np.load(tmp_path / "b.npy").shape == (3, 64, 64, 3)


def test_skipped_frames_are_counted(tmp_path: Path, render: Render) -> None:
    write(tmp_path / "a.npy", numbered([plain(RED)] * 12))
    similar = ("--set", "enable_similar_image_filter=true")
    code, errors = render("a.npy", "b.npy", *similar)
    assert (code, "skipped" in errors) == (0, True)
    assert len(np.load(tmp_path / "b.npy")) == 12


def test_the_flags_that_users_know_exist() -> None:
    options = command.params
    flags = {flag for option in options for flag in option.opts}
    known = (
        "--model --t-index-list --strength --num-inference-steps --cfg-type --guidance-scale"
        " --delta --seed --prompt --negative-prompt --width --height --frame-buffer-size --lora"
        " --vae --device --dtype --acceleration --cues --offline --config --set --frames"
    )
    assert set(known.split()) <= flags
