"""The bench: every comparison has its rows; no figure is judged here."""

from streamcam.bench.harness import machine
from streamcam.bench.image_bench import Bench
from streamcam.settings.config import build_config
from tests.support.streams import TINY, moving


def test_every_comparison_is_made_and_the_rows_add_up() -> None:
    config = build_config([TINY, {"width": 32, "height": 32}])
    scene = [frame.image for frame in moving(4, size=32)]
    rows = list(Bench(config, scene, rounds=1).rows())
    tables = {table: [row.name for row in rows if row.table == table] for table in _tables(rows)}
    assert list(tables) == [
        "overhead",
        "Stream Batch",
        "guidance",
        "residual guidance",
        "similarity filter",
        "stillness",
        "prompt cache",
    ]
    assert len(tables["guidance"]) == 5 * 4
    assert all(row.ms > 0 and row.ratio > 0 and -0.01 <= row.outside < 1 for row in rows)
    still = next(row for row in rows if row.name == "still scene, filter on")
    assert "skipped" in still.note
    still = next(row for row in rows if row.table == "stillness")
    assert float(still.note.split()[1]) > 0
    off, on = (row.note for row in rows if row.name.startswith("4 steps, K/V"))
    assert float(on.split()[0]) <= float(off.split()[0])
    assert machine(config)["device"] == "cpu"


def _tables(rows: list) -> dict[str, None]:
    return dict.fromkeys(row.table for row in rows)
