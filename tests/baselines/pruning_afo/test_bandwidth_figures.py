import math
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from itertools import combinations
from statistics import median

import made_runs
import numpy as np
import pytest
from matplotlib.figure import Figure
from pruning_afo.bandwidth_figures import (
    bandwidth_figures,
    plot_accuracy_of_bytes,
    plot_accuracy_over_bytes,
    plot_round_times,
    round_parts,
)
from pruning_afo.links import LINKS, MOBILE, relative_bandwidth, round_seconds, transfers

from common.analysis.results import Results
from common.replication.definition import FigureOf

NONE = FigureOf("", "")
CONFIG = {"seed": 0, "engine": "inline", "num_clients": 5, "clients_per_round": 5, "num_rounds": 3}
CLIENTS = range(5)
DOWN = 4_000_000

make_run = partial(made_runs.make_run, CONFIG)


def make_arm(up, *curves, **keys):
    """Results of an arm whose clients send so many bytes each, a curve of accuracies a seed."""
    runs = []
    for seed, curve in enumerate(curves):
        seconds = {
            link.metric: round_seconds(link, seed, CLIENTS, [up] * 5, [DOWN] * 5) for link in LINKS
        }
        of_round = {"bytes_up": 5 * up, "bytes_down": 5 * DOWN} | seconds
        metrics = {name: [number] * len(curve) for name, number in of_round.items()}
        runs.append(make_run(curve, seed=seed, metrics=metrics, **keys))
    return Results.of(runs)


@pytest.fixture
def panels():
    dense = make_arm(DOWN, (0.25, 0.5, 0.75), (0.25, 0.75, 0.75))
    sparse = make_arm(40_000, (0.25, 0.5, 0.5), (0.5, 0.5, 0.5))
    pooled = make_arm(DOWN, (0.75, 0.75, 0.75), num_clients=1)
    return {"IID": {"FedAvg": dense, "top-k": sparse, "centralised": pooled}}


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Returns the figure that something draws, without what takes long: to save it."""

    def draw(plot, panels):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
            plot(panels, "A title", tmp_path / "figure.png")
        (figure,) = saved
        return figure

    return draw


def test_a_round_is_the_median_client_s_transfers_and_the_wait_for_the_slowest():
    arm = make_arm(1_000_000, (0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
    expected = []
    for seed in range(3):
        drawn = [relative_bandwidth(MOBILE, seed, client) for client in CLIENTS]
        typical = transfers(MOBILE, median(drawn), 1_000_000, DOWN)
        slowest = transfers(MOBILE, min(drawn), 1_000_000, DOWN)
        expected.append([typical.down, typical.up, slowest.seconds - typical.seconds])
    assert round_parts(arm, MOBILE) == pytest.approx(np.mean(expected, axis=0), rel=1e-5)


def test_nobody_waits_for_a_sampled_cohort_that_is_faster_than_the_median():
    metrics = {"bytes_up": [10**6], "bytes_down": [10**6], MOBILE.metric: [0.01]}
    arm = Results.of([make_run((0.5,), metrics=metrics, clients_per_round=1)])
    parts = round_parts(arm, MOBILE)
    relative = median(relative_bandwidth(MOBILE, 0, client) for client in CLIENTS)
    assert parts == (*transfers(MOBILE, relative, 10**6, 10**6), 0)


def test_bars_add_up_to_the_seconds_that_were_recorded(draw, panels):
    axes = draw(plot_round_times, panels).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["mobile", "home", "data centre"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(panels["IID"])
    for axis, link in zip(axes, LINKS, strict=True):
        ends = [bar.get_x() + bar.get_width() for bar in axis.containers[-1]]
        means = [runs.curves(link.metric).mean() for runs in panels["IID"].values()]
        assert ends == pytest.approx(means)


def test_the_parts_of_bars_are_named_once_above_the_first_bar_inside_the_axes(draw, panels):
    figure = draw(plot_round_times, panels | {"α = 0.1": panels["IID"]})
    first, *others = figure.axes
    names = ["down, median client", "up, median client", "waiting for the slowest client"]
    assert [text.get_text() for text in first.texts[-3:]] == names
    assert not {*names} & {text.get_text() for axis in others for text in axis.texts}
    figure.draw_without_rendering()
    bars = [container[0].get_window_extent() for container in first.containers]
    boxes = [text.get_window_extent() for text in first.texts[-3:]]
    for bar, box, line in zip(bars, boxes, first.lines, strict=True):
        assert box.y0 >= bar.y1
        assert first.bbox.x0 <= box.x0 < box.x1 <= first.bbox.x1 + 1
        (x, _), (_, top) = first.transData.transform(line.get_xydata())
        assert bar.x0 <= x <= bar.x1
        assert box.x0 - 1 <= x <= box.x1
        assert top == pytest.approx(box.y0, abs=3)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_point_is_what_was_sent_and_the_mean_of_the_last_rounds(draw, panels):
    (axis,) = draw(plot_accuracy_of_bytes, panels).axes
    assert axis.get_ylabel() == "test accuracy, last 10 rounds (%)"
    _, dense, sparse, _ = axis.lines
    assert dense.get_xydata()[0] == pytest.approx([60, 3.25 / 6])
    assert sparse.get_xydata()[0] == pytest.approx([0.6, 2.75 / 6])


def test_curves_are_over_what_was_sent_so_far(draw, panels):
    up, both = draw(plot_accuracy_over_bytes, panels).axes
    assert up.get_ylabel() == both.get_ylabel() == "test accuracy (%)"
    for axis, spent in ((up, [20, 40, 60]), (both, [40, 80, 120])):
        assert axis.lines[0].get_xdata() == pytest.approx(spent)
        assert axis.lines[0].get_ydata() == pytest.approx([0.25, 0.625, 0.75])
        assert axis.get_xscale() == "log"
        assert [text.get_text() for text in axis.texts] == ["FedAvg", "top-k", "centralised"]
    assert up.lines[1].get_xdata() == pytest.approx([0.2, 0.4, 0.6])


def test_an_arm_that_was_stopped_has_a_curve_up_to_there_and_no_point(draw, panels):
    runs = make_arm(DOWN, (0.25, 0.5, 0.75)).rounds.copy()
    runs.loc[2, "test_accuracy":] = math.nan
    stopped = replace(make_arm(DOWN, (0.25, 0.5, 0.75)), rounds=runs)
    shown = {"IID": {"stopped": stopped, **panels["IID"]}}
    up, _ = draw(plot_accuracy_over_bytes, shown).axes
    assert up.lines[0].get_xdata() == pytest.approx([20, 40])
    (axis,) = draw(plot_accuracy_of_bytes, shown).axes
    assert len(axis.lines) == len(draw(plot_accuracy_of_bytes, panels).axes[0].lines)


@pytest.mark.parametrize("name", ["pareto", "bytes", "links"])
def test_figures_are_drawn_without_warnings_and_to_the_same_bytes(tmp_path, panels, name):
    two = panels | {"α = 0.1": panels["IID"]}
    files = [tmp_path / f"{number}.svg" for number in range(2)]
    (figure,) = (f for f in bandwidth_figures(two, FigureOf("CIFAR-10", "")) if f.name == name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files:
            figure.draw(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    root = ET.parse(files[0]).getroot()
    texts = " ".join("".join(node.itertext()) for node in root.iter())
    assert f"CIFAR-10: {figure.title[0].lower()}{figure.title[1:]}" in texts
    assert "IID" in texts
    assert "α = 0.1" in texts
    assert "top-k" in texts
    assert "centralised" not in texts, "where all data are in one place, nothing is sent"


def test_nothing_is_drawn_where_nothing_is_sent(panels):
    assert bandwidth_figures({"IID": {"centralised": panels["IID"]["centralised"]}}, NONE) == []


def test_without_a_heading_a_figure_has_its_title(tmp_path, panels):
    figure = bandwidth_figures(panels, NONE)[0]
    figure.draw(tmp_path / "figure.svg")
    assert ">Test accuracy against bytes sent<" in (tmp_path / "figure.svg").read_text()
