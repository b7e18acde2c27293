"""Rendering offline: every frame in order, with the snapshot of its index."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamcam.control.cues import Cues
from streamcam.errors import MediaError
from streamcam.runtime.offline_render import render
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sinks.sink_table import open_file_sink
from streamcam.sources.file_source import FileSource
from streamcam.types import Frame, Image
from tests.support.media import (
    RATE,
    CollectingSink,
    PassthroughStream,
    noise,
    plain,
    read,
    run_script,
)

SMALL = build_config([{"width": 64, "height": 48}])


class ListSource(FileSource):
    """Source of the given images that knows whether it was closed."""

    def __init__(self, images: list[Image], error: Exception | None = None) -> None:
        super().__init__(RATE, len(images))
        self._images = images
        self._error = error
        self.taken = 0
        self.closed = False

    def images(self) -> Iterator[Image]:
        for image in self._images:
            self.taken += 1
            yield image
        if self._error:
            raise self._error

    def __exit__(self, *_: object) -> None:
        self.closed = True


def source_of(count: int, error: Exception | None = None) -> ListSource:
    return ListSource([frame.image for frame in noise(count)], error)


@pytest.mark.parametrize("delay", [0, 1, 3, 20])
def test_every_frame_is_written_once_in_order(delay: int) -> None:
    source, sink = source_of(10), CollectingSink()
    written = list(
        render(source, PassthroughStream(delay), sink, config=SMALL, parameters_at=Cues({}))
    )
    assert [frame.index for frame in sink.frames] == list(range(10))
    assert written == sorted(written)
    assert written[-1] == 10
    assert source.closed
    assert sink.closed_after is None


def test_no_more_frames_are_read_than_requested() -> None:
    source, sink = source_of(10), CollectingSink()
    counts = render(
        source, PassthroughStream(2), sink, config=SMALL, parameters_at=Cues({}), frames=4
    )
    assert max(counts) == 4
    assert len(sink.frames) == source.taken == 4


def test_each_frame_runs_with_the_snapshot_for_its_index() -> None:
    stream, cues = PassthroughStream(), Cues({1: [{"seed": 7}], 3: [{"seed": 8}, {"delta": 0.5}]})
    list(render(source_of(5), stream, CollectingSink(), config=SMALL, parameters_at=cues))
    seen = [(parameters.seed, parameters.delta) for parameters in stream.seen]
    assert seen == [(2, 1), (7, 1), (7, 1), (8, 0.5), (8, 0.5)]


def test_an_error_of_the_source_closes_the_sink_with_it_and_is_raised() -> None:
    source, sink = source_of(3, MediaError("damaged")), CollectingSink()
    with pytest.raises(MediaError, match="damaged"):
        list(render(source, PassthroughStream(), sink, config=SMALL, parameters_at=Cues({})))
    assert sink.closed_after is MediaError
    assert source.closed


def test_closing_the_generator_early_keeps_the_partial_file(tmp_path: Path) -> None:
    sink = open_file_sink(tmp_path / "a.npy", RATE)
    counts = render(source_of(10), PassthroughStream(), sink, config=SMALL, parameters_at=Cues({}))
    for _ in range(4):
        next(counts)
    counts.close()
    assert not sink.path.exists()
    assert len(read(sink.temporary_path)) == 4


@pytest.mark.parametrize("name", ["a.npy", "a.mkv", "a.mp4"])
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path, name: str) -> None:
    # The frames together are nearly 200 MB; what grows is the encoder's and the decoder's own.
    script = """
        import numpy as np
        from streamcam.sinks.sink_table import open_file_sink
        from streamcam.sources.source_table import open_file_source
        from streamcam.control.cues import Cues
        from streamcam.settings.config_layers import build_config
        from streamcam.runtime.offline_render import render
        from streamcam.sources.generated import Blank

        SMALL = build_config([{"width": 256, "height": 256}])

        class Passing:
            chunk = 1
            def __call__(self, frame, parameters):
                return [frame]
            def drain(self, parameters):
                return []

        def copy(source, path):
            sink = open_file_sink(path, Fraction(30))
            counts = render(
                source, Passing(), sink, config=SMALL, parameters_at=Cues({})
            )
            return max(counts)

        def there_and_back(count):
            copy(Blank(256, 256, Fraction(30), count), path)
            again = path.with_name("again" + path.suffix)
            return copy(open_file_source(path, Fraction(30)), again)

        there_and_back(90)
        before = peak_mb()
        print(there_and_back(1000), peak_mb() - before)
    """
    count, grown_mb = run_script(script, tmp_path / name).split()
    assert int(count) == 1000
    assert float(grown_mb) < 25


def test_images_pass_unchanged_from_file_to_file(tmp_path: Path) -> None:
    source = ListSource([plain((i, 2 * i, 255 - i)) for i in range(40)])
    sink = open_file_sink(tmp_path / "a", RATE)
    list(render(source, PassthroughStream(3), sink, config=SMALL, parameters_at=Cues({})))
    again = np.stack([frame.image[0, 0] for frame in read(tmp_path / "a")])
    assert again.tolist() == [[i, 2 * i, 255 - i] for i in range(40)]


def test_cues_of_the_switcher_apply_to_the_outputs_of_their_frames() -> None:
    cues = Cues(
        {
            2: [{"blackout": True}],
            4: [{"blackout": False, "freeze": True}],
            6: [{"freeze": False, "mirror": True}],
        }
    )
    frames = noise(8)
    sink = CollectingSink()
    source = ListSource([frame.image for frame in frames])
    list(render(source, PassthroughStream(3), sink, config=SMALL, parameters_at=cues))
    shown, inputs = [f.image for f in sink.frames], [f.image for f in frames]
    assert [f.index for f in sink.frames] == list(range(8))
    assert all((shown[i] == inputs[i]).all() for i in (0, 1))
    assert not shown[2].any()
    assert not shown[3].any()
    assert all((shown[i] == inputs[1]).all() for i in (4, 5))
    assert all((shown[i] == inputs[i][:, ::-1]).all() for i in (6, 7))


def test_mix_shows_the_frame_that_the_output_was_made_of() -> None:
    class Black(PassthroughStream):
        def __call__(self, frame: Frame, parameters: Parameters) -> list[Frame]:
            return [replace(f, image=f.image * 0) for f in super().__call__(frame, parameters)]

    images = [plain((level, level, level)) for level in (40, 80, 120, 160)]
    sink = CollectingSink()
    cues = Cues({0: [{"mix": 0.5}]})
    list(render(ListSource(images), Black(2), sink, config=SMALL, parameters_at=cues))
    assert [int(f.image[0, 0, 0]) for f in sink.frames[:2]] == [20, 40]
