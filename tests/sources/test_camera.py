from collections.abc import Iterable
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pytest

from streamcam.errors import DeviceError
from streamcam.sources import camera as module
from streamcam.sources.camera import Camera
from streamcam.sources.camera_list import CameraInfo
from tests.support.media import noise

GOOD, DAMAGED, REFUSED, SILENT = "good", "damaged", "refused", "silent"
IMAGES = [frame.image for frame in noise(7)]


class Clock:
    now = 50.0

    def monotonic(self) -> float:
        return self.now


class Capture:
    """Fake of OpenCV's capture: each grab does the next event, and the clock moves on with it."""

    def __init__(self, events: Iterable[str], clock: Clock) -> None:
        self.released = False
        self._events = iter(events)
        self._clock = clock
        self._event = ""
        self._count = 0

    def grab(self) -> bool:
        self._event = next(self._events, REFUSED)
        self._clock.now += {GOOD: 1 / 30, DAMAGED: 1 / 30, REFUSED: 0.001, SILENT: 1.0}[self._event]
        return self._event in (GOOD, DAMAGED)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        if self._event == DAMAGED:
            return False, None
        self._count += 1
        return True, IMAGES[self._count % 7][..., ::-1].copy()

    def release(self) -> None:
        self.released = True


class FakeCameras:
    """A machine whose cameras are plugged in and out."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.plugged: list[CameraInfo] = []
        self.opened: list[Capture] = []
        self.events: Iterable[str] = repeat(GOOD)
        self.folder = folder
        monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(module, "cameras", lambda: tuple(self.plugged))
        monkeypatch.setattr(module, "_open", self._open)
        monkeypatch.setattr(module, "_actual_mode", lambda *_: ("64x48 YUYV 30 fps", Fraction(30)))

    def plug(self, name: str, number: int, stable_path: str | None = None) -> CameraInfo:
        node = self.folder / f"video{number}"
        node.touch()
        self.plugged.append(CameraInfo(name, str(node), str(node), stable_path))
        return self.plugged[-1]

    def _open(self, *_: object) -> Capture:
        self.opened.append(Capture(self.events, self.clock))
        return self.opened[-1]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCameras:
    return FakeCameras(tmp_path, monkeypatch)


def camera(name: str | None = None) -> Camera:
    return Camera(name, (64, 48), 30)


def test_frames_are_counted_and_stamped_when_they_arrive(machine: FakeCameras) -> None:
    machine.plug("Cam", 0)
    with camera() as source:
        frames = list(islice(source, 5))
        assert [frame.index for frame in frames] == list(range(5))
        assert frames[4].captured_at == machine.clock.now
        assert np.array_equal(frames[0].image, IMAGES[1])
        assert source.format == "64x48 YUYV 30 fps"
    assert machine.opened[0].released


def test_a_frame_damaged_in_transit_is_passed_over(machine: FakeCameras) -> None:
    machine.plug("Cam", 0)
    machine.events = [GOOD, DAMAGED, DAMAGED, GOOD]
    with camera() as source:
        assert [frame.index for frame in islice(source, 2)] == [0, 1]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([REFUSED], "it does not answer"),
        ([SILENT], "no frame for 1.0 s"),
        ([DAMAGED] * 60, "no frame for 0.9 s"),
    ],
)
def test_a_camera_that_gives_nothing_is_lost_within_two_seconds(
    machine: FakeCameras, events: list[str], reason: str
) -> None:
    machine.plug("Cam", 0)
    machine.events = [GOOD, GOOD, *events]
    with camera() as source:
        last, error = until_lost(source)
    assert f'video0 "Cam" lost: {reason}' in error
    assert machine.clock.now - last < 2


def until_lost(source: Camera) -> tuple[float, str]:
    """Return when the last frame came, and the error that followed."""
    arrivals: list[float] = []
    with pytest.raises(DeviceError) as error:
        arrivals.extend(frame.captured_at for frame in source)
    return arrivals[-1], str(error.value)


def test_the_first_frame_may_take_some_seconds(machine: FakeCameras) -> None:
    machine.plug("Cam", 0)
    machine.events = [REFUSED, *[SILENT] * 8, GOOD]
    with camera() as source:
        assert next(iter(source)).index == 0
    machine.events = repeat(SILENT)
    with camera() as source, pytest.raises(DeviceError, match="no frame for 10"):
        next(iter(source))


def test_a_replaced_node_is_noticed_while_frames_still_come(machine: FakeCameras) -> None:
    plugged = machine.plug("Cam", 0)
    with camera() as source:
        frames = iter(source)
        next(frames)
        Path(plugged.address).unlink()
        Path(plugged.address).symlink_to("/dev/null")
        with pytest.raises(DeviceError, match="unplugged"):
            list(islice(frames, 31))


def test_the_same_camera_is_found_again_under_another_number(machine: FakeCameras) -> None:
    machine.plug("Cam", 0, "/by-id/a")
    source = camera("cam")
    with source:
        pass
    machine.plugged.clear()
    machine.plug("Cam", 0, "/by-id/b")
    with pytest.raises(DeviceError, match='camera "Cam" is not plugged in'):
        source.__enter__()
    again = machine.plug("Cam", 3, "/by-id/a")
    with source:
        assert source.label == str(again)
        assert next(iter(source)).index == 0


def test_a_camera_without_a_stable_path_is_found_again_by_its_name(machine: FakeCameras) -> None:
    machine.plug("Cam", 0)
    source = camera()
    with source:
        pass
    machine.plugged.clear()
    machine.plug("Other", 0)
    again = machine.plug("Cam", 1)
    with source:
        assert source.label == str(again)


def test_a_stopped_camera_gives_nothing_more(machine: FakeCameras) -> None:
    machine.plug("Cam", 0)
    with camera() as source:
        frames = iter(source)
        next(frames)
        source.stop()
        assert list(frames) == []
        assert list(source) == []


def test_a_missing_permission_is_reported_with_the_command_that_grants_it(
    machine: FakeCameras,
) -> None:
    node = machine.folder / "video0"
    node.touch()
    machine.plugged.append(CameraInfo("Cam", str(node), str(node), problem="Permission denied"))
    with pytest.raises(DeviceError, match=r"no permission for camera .* usermod .* log in again"):
        camera().__enter__()
