"""The image benchmark: every comparison has its rows; no test depends on a figure."""

from pathlib import Path

from streamcam.bench.harness import machine
from streamcam.bench.image_bench import ImageBenchmark, at_steps
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.ip_adapters import save_ip_adapter
from tests.support.streams import TINY, moving


def test_every_comparison_has_its_rows() -> None:
    config = build_config([TINY, {"width": 32, "height": 32}])
    scene = [frame.image for frame in moving(4, size=32)]
    rows = list(ImageBenchmark(config, scene, rounds=1).rows())
    tables = {table: [row.name for row in rows if row.table == table] for table in _tables(rows)}
    assert list(tables) == [
        "overhead",
        "Stream Batch",
        "guidance",
        "residual guidance",
        "similarity filter",
        "temporal stability",
        "prompt cache",
        "prompt chunks",
        "regions",
        "steadiness",
        "live LoRAs",
    ]
    assert len(tables["guidance"]) == 5 * 4
    assert all(row.note.endswith(" MB") for row in rows if "temporal_memory" in row.name)
    assert all(row.ms > 0 and row.ratio > 0 and -0.01 <= row.outside < 1 for row in rows)
    still = next(row for row in rows if row.name == "still scene, filter on")
    assert "skipped" in still.note
    still = next(row for row in rows if row.table == "temporal stability")
    assert float(still.note.split()[1]) > 0
    off, on = (row.note for row in rows if row.name.startswith("4 steps, K/V"))
    assert float(on.split()[0]) <= float(off.split()[0])
    assert machine(config)["device"] == "cpu"


def _tables(rows: list) -> dict[str, None]:
    return dict.fromkeys(row.table for row in rows)


def test_a_model_of_few_timesteps_is_measured_at_more_steps_too() -> None:
    config = build_config([{"timesteps": [999, 749, 499, 249]}])
    within, beyond = at_steps(config, 4, "none"), at_steps(config, 10, "none")
    assert within.timesteps == config.timesteps
    assert (within.num_steps, within.live.num_inference_steps) == (4, 4)
    assert (beyond.num_steps, beyond.live.num_inference_steps) == (10, 50)


def test_image_prompts_are_compared_with_the_stream_without_them(tmp_path: Path) -> None:
    adapter = save_ip_adapter(tmp_path, random_pipeline("tiny-sd-turbo").unet, "plain")
    config = build_config([TINY, {"width": 32, "height": 32, "ip_adapter": str(adapter)}])
    bench = ImageBenchmark(config, [frame.image for frame in moving(2, size=32)], rounds=1)
    assert [row.name for row in bench.image_prompts()] == ["no IP-Adapter", "1 image prompts"]
