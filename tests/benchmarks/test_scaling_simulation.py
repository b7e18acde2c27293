"""``python -m benchmarks.scaling_simulation``: places, failures, waiting, and the chart."""

from dataclasses import replace
from random import Random
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.scaling_simulation.__main__ import COLUMNS, row
from benchmarks.scaling_simulation.assumptions import Assumptions, Card, Kind, activity
from benchmarks.scaling_simulation.chart import chart
from benchmarks.scaling_simulation.simulated_cluster import Cluster
from benchmarks.scaling_simulation.simulation import Simulation

KIND = Kind("any", 1.0, 3, 0.3, 1.8, 4.0)
SMALL = Assumptions(
    streams=24,
    hours=2.0,
    session_median_s=600.0,
    card=Card("a card", 10.0, (KIND,)),
    gpus_per_node=2,
    spare=0.5,
    node_mtbf_days=1e9,
    zone_fails_at_h=None,
)


def a_cluster(packing: str, nodes: int = 2) -> Cluster:
    cluster = Cluster(replace(SMALL, packing=packing), [KIND] * 3, nodes)
    for node in range(nodes):
        cluster.add_node(node)
    return cluster


def test_streams_that_share_calls_take_less_of_a_gpu() -> None:
    assert KIND.load(0) == 0
    assert KIND.load(1) == pytest.approx(0.3)
    assert KIND.load(4) == pytest.approx(4 * 0.3 / 1.8)
    assert KIND.load(8) == pytest.approx(8 * 0.3 / 1.8)


def test_a_stream_goes_to_where_its_model_is_loaded() -> None:
    cluster = a_cluster("best-fit")
    first = cluster.place(1, 0, 0.0)
    assert first
    assert not first.is_warm
    other = cluster.place(2, 1, 0.0)
    again = cluster.place(3, 0, 0.0)
    assert other
    assert again == (first.gpu, True)
    cluster.release(1, 0, first.gpu, 1.0)
    cluster.release(3, 0, first.gpu, 1.0)
    assert cluster.place(4, 0, 2.0) == (first.gpu, True)


@pytest.mark.parametrize(("packing", "used"), [("best-fit", 1), ("shared", 1), ("spread", 2)])
def test_models_are_packed_or_spread(packing: str, used: int) -> None:
    cluster = a_cluster(packing)
    for number in (0, 1):
        assert cluster.place(number, number, 0.0)
    assert np.count_nonzero(cluster.load) == used


def test_no_gpu_has_more_than_it_can_do_or_hold() -> None:
    random, cluster = Random(0), a_cluster("shared")
    placed: dict[int, tuple[int, int]] = {}
    refused = 0
    for number in range(600):
        if placed and random.random() < 0.4:
            name = random.choice(sorted(placed))
            cluster.release(name, *placed.pop(name), float(number))
        else:
            model = random.randrange(3)
            place = cluster.place(number, model, float(number))
            refused += place is None
            if place:
                placed[number] = (model, place.gpu)
        for gpu in range(4):
            models = {m for m, g in placed.values() if g == gpu}
            counts = [sum(at == (m, gpu) for at in placed.values()) for m in models]
            assert cluster.load[gpu] == pytest.approx(sum(KIND.load(n) for n in counts))
            assert cluster.load[gpu] < 1.001
            assert 4.0 * len(models) <= 10.0
    assert refused > 0


def test_the_same_seed_gives_the_same_day_and_another_one_another() -> None:
    day = replace(SMALL, hours=0.5)
    first, again = Simulation(day, 3).run(), Simulation(day, 3).run()
    assert first == again
    assert first.sessions > 10
    assert Simulation(day, 4).run() != first


def test_a_quiet_day_keeps_every_stream_on_its_model() -> None:
    result = Simulation(replace(SMALL, spare=3.0)).run()
    assert result.refused == 0
    assert result.outages_s == []
    assert result.off_s_per_stream_hour == 0
    assert {round(s) for s in result.starts_s} <= {2, 30}
    assert 0.1 < result.utilisation < 0.5


def test_streams_of_a_zone_that_fails_come_back_elsewhere() -> None:
    day = replace(SMALL, zone_fails_at_h=1.5, spare=2.0)
    result = Simulation(day).run()
    assert result.lost_nodes > 0
    assert result.outages_s
    least = day.notice_s + day.placement_s + day.warm_s
    # The streams that are lost at a time are placed one after the other.
    assert min(result.outages_s) == pytest.approx(least)
    assert result.sessions == Simulation(SMALL).run().sessions


def test_a_full_cluster_starts_nodes_and_whoever_waits_too_long_leaves() -> None:
    crowded = replace(SMALL, spare=0.0, node_start_s=600.0, patience_s=30.0)
    result = Simulation(crowded).run()
    assert 0 < result.refused < result.sessions / 2
    assert max(result.starts_s) > 30
    assert result.most_gpus > 2


def test_every_hour_of_the_day_passes_into_the_next() -> None:
    assert activity(20 * 3600) == 1.0
    assert activity(23.5 * 3600) == pytest.approx((activity(23 * 3600) + activity(0)) / 2)


def test_the_row_and_the_chart_show_the_day() -> None:
    result = Simulation(SMALL).run()
    assert len(row("a day", result)) == len(COLUMNS)
    root = ElementTree.fromstring(chart(result.samples, "a <day>"))
    lines = [element for element in root if element.tag.endswith("polyline")]
    assert len(lines) == 4
    assert all(len(line.get("points", "").split()) == len(result.samples) for line in lines)
