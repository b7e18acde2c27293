import json
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.cues import read_cues
from streamcam.errors import MediaError, ParameterError
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sinks.cue_recorder import CueWriter
from streamcam.sinks.recorder import Recorder
from streamcam.types import Frame
from tests.support.media import BLUE, GREEN, RATE, RED, decoded, noise, numbered, plain, read
from tests.support.scenes import FakeBroadcastView

CONFIG = build_config([{"t_index_list": [32, 45]}])


class Clock:
    """A clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(path: Path, view: FakeBroadcastView, times: list[float], rate: Fraction = RATE) -> Path:
    """Record a frame at each of `times`, seconds from the start."""
    clock = Clock()
    with Recorder(path, rate, view, clock) as sink:
        for index, seconds in enumerate(times):
            clock.now = 100 + seconds
            sink.send(Frame(plain(RED), index, clock.now))
    return path


def places(path: Path, rate: Fraction = RATE) -> list[int]:
    """Return the places of a video's frames on the grid of `rate`."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [round((frame.time or 0.0) * rate) for frame in frames]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("ticks", "grid"),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1.2, 1.9, 3.4, 3.6], [0, 1, 2, 3, 4]),
        ([0, 1, 4, 5], [0, 1, 4, 5]),
        ([0, 0.2, 0.3, 0.4, 4, 5], [0, 1, 4, 5]),
        ([0, 1.4, 1.6, 2.4, 3.4], [0, 1, 2, 3, 4]),
    ],
    ids=["even", "jitter", "late", "burst", "early"],
)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webm"])
def test_frames_lie_on_the_grid_by_the_clock(
    tmp_path: Path, name: str, ticks: list[float], grid: list[int]
) -> None:
    path = record(tmp_path / name, FakeBroadcastView(), [tick / 30 for tick in ticks])
    assert places(path) == grid


def test_an_hour_of_a_fractional_rate_does_not_drift(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    times = [0.0, 1.0, 1800.0, 3600.0]
    path = record(tmp_path / "a.mkv", FakeBroadcastView(), times, rate)
    assert places(path, rate) == [round(t * rate) for t in times]


def test_the_recorded_frames_are_those_that_were_sent(tmp_path: Path) -> None:
    images = [plain(colour) for colour in (RED, GREEN, BLUE)]
    clock = Clock()
    with Recorder(tmp_path / "a.mkv", RATE, FakeBroadcastView(), clock) as sink:
        for frame in numbered(images):
            clock.now = 100 + frame.captured_at
            sink.send(frame)
    for frame, image in zip(read(tmp_path / "a.mkv"), images, strict=True):
        assert np.abs(frame.image.astype(int) - image).max() < 12


def test_record_off_ends_the_file_and_on_begins_the_next(tmp_path: Path) -> None:
    view, clock = FakeBroadcastView(), Clock()
    with Recorder(tmp_path / "show.mkv", RATE, view, clock) as sink:
        for index in range(60):
            clock.now += 1 / 30
            if index % 20 in (0, 10):
                view.change(index, record=index % 20 == 0)
            sink.send(Frame(plain(RED), index, clock.now))
            name = ("show.mkv", None, "show-2.mkv", None, "show-3.mkv", None)[index // 10]
            assert sink.recording == (tmp_path / name if name else None)
            done = (None, *["show.mkv"] * 2, *["show-2.mkv"] * 2, "show-3.mkv")[index // 10]
            assert sink.saved == (tmp_path / done if done else None)
        assert {p.name for p in tmp_path.glob("*.mkv")} == {
            "show.mkv",
            "show-2.mkv",
            "show-3.mkv",
        }
    for name, first in (("show", 0), ("show-2", 20), ("show-3", 40)):
        assert places(tmp_path / f"{name}.mkv") == list(range(10))
        assert lines(tmp_path / f"{name}.cues.jsonl")[0]["frame"] == first


def test_no_file_is_made_while_record_is_off(tmp_path: Path) -> None:
    record(tmp_path / "a.mkv", FakeBroadcastView(Parameters(record=False)), [0, 1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("existing", ["show.mkv", "show.partial.mkv", "show.cues.jsonl"])
def test_existing_files_are_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    (tmp_path / "show-2.mkv").write_text("mine")
    record(tmp_path / "show.mkv", FakeBroadcastView(), [0, 1 / 30])
    assert (tmp_path / existing).read_text() == "mine"
    assert (tmp_path / "show-2.mkv").read_text() == "mine"
    assert places(tmp_path / "show-3.mkv") == [0, 1]
    assert (tmp_path / "show-3.cues.jsonl").exists()


@pytest.mark.parametrize("existing", ["show.mkv", "show.partial.mkv", "show.cues.jsonl"])
def test_links_that_lead_nowhere_are_not_followed(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).symlink_to(tmp_path / "elsewhere")
    record(tmp_path / "show.mkv", FakeBroadcastView(), [0, 1 / 30])
    assert not (tmp_path / "elsewhere").exists()
    assert places(tmp_path / "show-2.mkv") == [0, 1]


def test_a_file_that_appears_while_recording_stays_and_so_does_the_recording(
    tmp_path: Path,
) -> None:
    sink = Recorder(tmp_path / "show.mkv", RATE, FakeBroadcastView())
    sink.send(Frame(plain(RED), 0, 0.0))
    (tmp_path / "show.mkv").write_text("mine")
    message = r"cannot write .*recorded until then: .*show\.partial\.mkv"
    with pytest.raises(MediaError, match=message):
        sink.__exit__()
    assert (tmp_path / "show.mkv").read_text() == "mine"
    assert decoded(tmp_path / "show.partial.mkv") == 1


def test_every_change_is_in_the_cue_file_as_it_happens(tmp_path: Path) -> None:
    view = FakeBroadcastView(Parameters(seed=7))
    sheet = tmp_path / "a.cues.jsonl"
    with Recorder(tmp_path / "a.mkv", RATE, view) as sink:
        sink.send(Frame(plain(RED), 5, 0.0))
        assert lines(sheet)[0] == {"frame": 5} | Parameters(seed=7).model_dump(mode="json")
        view.change(8, prompt="neon \u2028 \N{CAT}", delta=0.5)
        sink.send(Frame(plain(RED), 7, 0.0))
        sink.send(Frame(plain(RED), 8, 0.0))
        assert lines(sheet)[1:] == [
            {"frame": 8, "prompt": [["neon \u2028 \N{CAT}", 1.0]], "delta": 0.5}
        ]
        view.change(9, delta=0.5)
        sink.send(Frame(plain(RED), 9, 0.0))
    assert len(lines(sheet)) == 2


def test_a_change_from_an_earlier_frame_on_still_comes_after_the_start(tmp_path: Path) -> None:
    view = FakeBroadcastView()
    with Recorder(tmp_path / "a.mkv", RATE, view) as sink:
        sink.send(Frame(plain(RED), 20, 0.0))
        view.change(18, seed=9)
        sink.send(Frame(plain(RED), 21, 0.0))
    cues = read_cues(tmp_path / "a.cues.jsonl", CONFIG)
    assert cues(20, CONFIG.live).seed == 9


texts = st.text(max_size=80).filter(lambda text: len(text.encode("utf-8", "replace")) <= 1000)
weighted = st.lists(st.tuples(texts, st.floats(0.001, 1000)), min_size=1, max_size=4)
share = st.floats(0, 1)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": weighted,
        "negative_prompt": weighted,
        "prompt_interpolation": st.sampled_from(["linear", "slerp"]),
        "strength": st.none() | share,
        "t_index_list": st.none() | st.sampled_from([(0, 1), (32, 45), (10, 49)]),
        "num_inference_steps": st.integers(50, 1000),
        "guidance_scale": st.floats(0, 30),
        "delta": st.floats(0, 10),
        "seed": st.integers(0, 2**63 - 1),
        "similar_image_filter_threshold": st.floats(-1, 1),
        "reset": st.integers(0, 2**63 - 1),
        "mirror": st.booleans(),
        "rotate": st.sampled_from(["0", "90", "180", "270"]),
        "mix": share,
        "bypass": st.booleans(),
        "panic": st.booleans(),
        "fps_limit": st.floats(0, 1000),
        "prompt_time": st.floats(0, 600),
        "record": st.booleans(),
        "snapshot": st.integers(0, 2**63 - 1),
    },
)


@settings(max_examples=150, deadline=None)
@given(shows=st.lists(CHANGES, min_size=1, max_size=6), render_flags=CHANGES)
def test_a_render_with_the_cues_repeats_the_show_whatever_its_flags(
    shows: list[dict[str, Any]], render_flags: dict[str, Any]
) -> None:
    snapshots = [CONFIG.live]
    for changes in shows:
        try:
            snapshots.append(CONFIG.changed(snapshots[-1], changes))
        except ParameterError:
            continue  # Such as texts with half a surrogate pair; no parameters can hold them.
    with tempfile.TemporaryDirectory() as folder:
        sheet = CueWriter(Path(folder) / "a.cues.jsonl")
        for index, snapshot in enumerate(snapshots):
            sheet.write(10 * index, snapshot)
        sheet.close()
        cues = read_cues(sheet.path, CONFIG)
    parameters = CONFIG.live
    with suppress(ParameterError):
        parameters = CONFIG.changed(parameters, render_flags)
    for index, snapshot in enumerate(snapshots):
        parameters = cues(10 * index, parameters)
        assert parameters == snapshot


def test_the_longest_prompts_fit_into_a_cue(tmp_path: Path) -> None:
    longest = [["\x01" * 1000, 1.0]] * 16
    parameters = Parameters().changed({"prompt": longest, "negative_prompt": longest})
    sheet = CueWriter(tmp_path / "a.jsonl")
    sheet.write(0, parameters)
    sheet.close()
    config = build_config([])
    assert read_cues(sheet.path, config)(0, config.live) == parameters


# Records noise until it is killed.
ENDLESS = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from streamcam.sinks.recorder import Recorder
from streamcam.types import Frame
from tests.support.scenes import FakeBroadcastView

view = FakeBroadcastView()
images = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
clock = iter(range(10**9))
with Recorder(Path(sys.argv[1]), Fraction(30), view, lambda: next(clock) / 30) as sink:
    for index in range(10**9):
        if index == 50:
            view.change(50, prompt="changed")
        sink.send(Frame(images[index % 4], index, 0.0))
        if index == 100:
            print("going", flush=True)
        time.sleep(0.001)
"""


@pytest.mark.parametrize("name", ["show.mkv", "show.mp4"])
def test_a_killed_recording_is_playable_and_has_its_cues(tmp_path: Path, name: str) -> None:
    script = [sys.executable, "-c", ENDLESS, str(tmp_path / name)]
    with subprocess.Popen(script, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"going\n"
        process.send_signal(signal.SIGKILL)
    partial = tmp_path / name.replace(".", ".partial.")
    assert decoded(partial) >= 100 - 2 * 30
    assert [line["frame"] for line in lines(tmp_path / "show.cues.jsonl")] == [0, 50]
    record(tmp_path / name, FakeBroadcastView(), [0])
    assert (tmp_path / name.replace(".", "-2.")).exists()


# Records noise until that fails, with SIGXFSZ ignored, then once more.
FULL = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from streamcam.errors import MediaError
from streamcam.sinks.recorder import Recorder
from streamcam.types import Frame
from tests.support.scenes import FakeBroadcastView

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
images = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
clock = iter(range(10**9))
sink = Recorder(Path(sys.argv[1]), Fraction(30), FakeBroadcastView(), lambda: next(clock) / 30)
try:
    with sink:
        for index in range(10**4):
            sink.send(Frame(images[index % 60], index, 0.0))
except MediaError as error:
    print(error)
with sink:
    sink.send(Frame(images[0], 0, 0.0))
"""


def test_a_full_disk_is_reported_and_the_recording_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "show.mkv"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), "200000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == (
        f"cannot write {path}: the file grew beyond the size allowed here; choose another place;"
        f" recorded until then: {path}\n"
    )
    assert decoded(path) > 30
    assert lines(tmp_path / "show.cues.jsonl")[0]["frame"] == 0
    assert decoded(tmp_path / "show-2.mkv") == 1


def test_a_recording_without_a_frame_leaves_nothing(tmp_path: Path) -> None:
    sink = Recorder(tmp_path / "a.mkv", RATE, FakeBroadcastView())
    with pytest.raises(MediaError, match=r"a video needs even sides, got 63x48"), sink:
        sink.send(Frame(plain(RED, width=63), 0, 0.0))
    assert not list(tmp_path.iterdir())


def test_no_recording_starts_on_a_nearly_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(MediaError, match=r"less than 50 MB are free on the disk; free some"):
        record(tmp_path / "a.mkv", FakeBroadcastView(), [0])
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_part_does_not_lose_the_recording(tmp_path: Path) -> None:
    with suppress(ValueError), Recorder(tmp_path / "a.mkv", RATE, FakeBroadcastView()) as sink:
        sink.send(noise(1)[0])
        raise ValueError("of another part")
    assert decoded(tmp_path / "a.mkv") == 1


def test_a_recorder_that_is_entered_again_starts_the_next_file(tmp_path: Path) -> None:
    sink = Recorder(tmp_path / "a.mkv", RATE, FakeBroadcastView())
    for _ in range(2):
        with sink:
            sink.send(noise(1)[0])
    assert decoded(tmp_path / "a.mkv") == decoded(tmp_path / "a-2.mkv") == 1


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot record .*: No such file"):
        record(tmp_path / "gone" / "a.mkv", FakeBroadcastView(), [0])


def test_a_recording_is_named_in_the_log_when_it_begins_and_when_it_is_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "show.mkv").touch()
    path = tmp_path / "show-2.mkv"
    with Recorder(tmp_path / "show.mkv", RATE, FakeBroadcastView()) as sink:
        sink.send(noise(1)[0])
        assert caplog.messages == [f"recording {path}"]
    cues = tmp_path / "show-2.cues.jsonl"
    assert caplog.messages[1:] == [f"recorded {path}, and its cues {cues}"]
    assert path.exists()
    assert cues.exists()
