import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from common.analysis.pareto import CostPanel, Point, pareto_front, plot_pareto
from common.analysis.statistics import Estimate

# Few different numbers, so that points are equal in one or in both.
points = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), max_size=12)


def beats(one, other):
    return one != other and one[0] <= other[0] and one[1] >= other[1]


@given(points=points)
def test_the_front_is_what_no_other_point_beats(points):
    front = pareto_front([cost for cost, _ in points], [value for _, value in points])
    unbeaten = [i for i, p in enumerate(points) if not any(beats(q, p) for q in points)]
    assert sorted(front) == unbeaten
    assert [points[i] for i in front] == sorted(points[i] for i in front)


def test_a_front_by_hand():
    costs, values = [100, 10, 1, 10, 50, 1], [0.9, 0.8, 0.5, 0.7, 0.8, 0.4]
    assert pareto_front(costs, values) == [2, 1, 0]


def point(cost, *values):
    mean = float(np.mean(values))
    if len(values) == 1:
        return Point(cost, Estimate(mean, np.nan, np.nan, 1))
    return Point(cost, Estimate(mean, min(values), max(values), len(values)))


@pytest.mark.parametrize("costs", [(1, 2), (900, 1000), (10, 1000), (1, 10_000), (7, 7)])
def test_an_axis_of_costs_has_some_numbers_that_are_written_out(draw, costs):
    (axis,) = draw(panel(a=point(costs[0], 0.5), b=point(costs[1], 0.6))).axes
    axis.figure.draw_without_rendering()
    low, high = axis.get_xlim()
    labels = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    shown = [label.get_text() for place, label in labels if low <= place <= high]
    assert 1 <= len(shown) <= 7
    assert all(label.replace(",", "").replace(".", "").isdigit() for label in shown)


def panel(title="a panel", **points):
    return CostPanel(title, points)


def plot(path, *panels):
    plot_pareto(panels, path, ("MB up", "test accuracy"), (0, 1), "A title", is_share=True)


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Returns the figure that panels are drawn as, without what takes long: to save it."""

    def draw(*panels):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
            plot(tmp_path / "figure.png", *panels)
        (figure,) = saved
        return figure

    return draw


def test_an_arm_is_a_point_of_cost_and_value_with_its_interval(draw):
    (axis,) = draw(panel(a=point(10, 0.4, 0.6), b=point(1000, 0.7))).axes
    assert axis.get_xscale() == "log"
    _, a, b = axis.lines
    assert (a.get_xydata().tolist(), b.get_xydata().tolist()) == ([[10, 0.5]], [[1000, 0.7]])
    interval = axis.collections[0].get_segments()[0].tolist()
    assert interval == [[10, 0.4], [10, 0.6]]


def test_an_interval_ends_where_values_end(draw):
    (axis,) = draw(panel(a=Point(10, Estimate(0.9, 0.7, 1.1, 3)))).axes
    assert axis.collections[0].get_segments()[0][:, 1].tolist() == [0.7, 1.0]


def test_the_front_is_drawn_through_its_points_as_steps(draw):
    (axis,) = draw(panel(a=point(100, 0.9), b=point(10, 0.8), c=point(50, 0.7))).axes
    front = axis.lines[0]
    assert front.get_xydata().tolist() == [[10, 0.8], [100, 0.9]]
    assert front.get_drawstyle() == "steps-post"


def test_an_arm_has_its_name_and_the_same_marker_in_all_panels(draw):
    figure = draw(panel(a=point(1, 0.1), b=point(2, 0.2)), panel(b=point(3, 0.3)))
    first, second = figure.axes
    assert {text.get_text(): text.xy for text in first.texts} == {
        "a": (1, 0.1),
        "b": (2, 0.2),
        "front": (pytest.approx(2**0.5), 0.1),  # The middle of its level.
    }
    assert {text.get_text(): text.xy for text in second.texts} == {"b": (3, 0.3)}
    b, again = first.lines[2], second.lines[1]
    assert (b.get_marker(), b.get_color()) == (again.get_marker(), again.get_color())
    assert (first.lines[1].get_marker(), first.lines[1].get_color()) != (
        b.get_marker(),
        b.get_color(),
    )


@pytest.mark.filterwarnings("error")
def test_points_of_the_same_cost_are_drawn_without_warnings(tmp_path):
    plot(tmp_path / "figure.png", panel(a=point(5, 0.5)))
    plot(tmp_path / "figure.png", panel(a=point(5, 0.5), b=point(5, 0.5)), panel())
    plot(tmp_path / "figure.png", panel())


def test_text_stays_text_and_panels_share_their_axes(tmp_path):
    plot(tmp_path / "figure.svg", panel("IID", a=point(1, 0.1)), panel("skewed", a=point(900, 0.9)))
    root = ET.parse(tmp_path / "figure.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")}
    assert texts >= {"A title", "IID", "skewed", "MB up", "test accuracy (%)", "a", "100"}
    assert {"20", "40"} < texts


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_points_give_the_same_bytes(tmp_path, suffix):
    files = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    for file in files:
        plot(file, panel(a=point(1, 0.1, 0.2), b=point(30, 0.1)))
    assert files[0].read_bytes() == files[1].read_bytes()
