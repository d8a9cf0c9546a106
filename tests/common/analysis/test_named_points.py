from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from common.analysis.named_points import NamedPoint, marker_styles, write_all_names
from common.analysis.style import COLOURS, LABEL_COLOURS


def test_arms_look_alike_wherever_they_come_and_unlike_others():
    assert list(marker_styles(["b", "a", "b", "c"])) == ["b", "a", "c"]
    styles = marker_styles(str(number) for number in range(42))
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 42


def named(points, *, drawn=(), size=(8, 4)):
    """Returns a figure with the names of points that are from 0 to 100 and from 0 to 1."""
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.add_subplot(xlim=(0, 100), ylim=(0, 1))
    names = [
        NamedPoint(f"FedAvg, top-k {number} %", point, COLOURS[number % 6])
        for number, point in enumerate(points)
    ]
    write_all_names(figure, {axis: names}, {axis: drawn}, growth=1)
    return figure, axis


def boxes(axis):
    """Returns the boxes of the names, and of the centres of the markers."""
    axis.figure.draw_without_rendering()
    points = [axis.transData.transform(text.xy) for text in axis.texts]
    reach = 3 / 72 * axis.figure.dpi
    # Of the letters alone, without the line to the point.
    letters = [Text.get_window_extent(text) for text in axis.texts]
    return letters, [Bbox([point - reach, point + reach]) for point in points]


def test_the_names_of_a_crowd_cover_neither_each_other_nor_points():
    crowd = [(50 + i, 0.7 + 0.02 * i) for i in range(5)]
    _, axis = named([*crowd, (10, 0.1)])
    assert [text.get_text() for text in axis.texts] == [f"FedAvg, top-k {i} %" for i in range(6)]
    letters, points = boxes(axis)
    assert not any(one.overlaps(other) for one, other in combinations(letters, 2))
    assert not any(one.overlaps(point) for one in letters for point in points)
    assert [text.get_color() for text in axis.texts] == list(LABEL_COLOURS)


@pytest.mark.parametrize(
    "places", [[(0, 0), (100, 1)], [(100, 0), (0, 1)], [(50, 1), (0, 0.5), (100, 0.5)]]
)
def test_names_stay_within_the_axes_and_close_to_their_points(places):
    _, axis = named(places)
    letters, points = boxes(axis)
    for box, point in zip(letters, points, strict=True):
        assert axis.bbox.x0 - 1 <= box.x0 < box.x1 <= axis.bbox.x1 + 1
        assert axis.bbox.y0 - 1 <= box.y0 < box.y1 <= axis.bbox.y1 + 1
        apart = np.maximum(box.min - point.max, point.min - box.max).max()
        assert apart <= 70 / 72 * axis.figure.dpi


def test_names_leave_curves_free():
    for level, side in ((0.55, -1), (0.45, 1)):
        curve = np.array([[0, level], [100, level]])
        _, axis = named([(50, 0.5)], drawn=[curve])
        (box,), _ = boxes(axis)
        (_, y) = axis.transData.transform((50, level))
        assert box.y1 < y if side < 0 else box.y0 > y


def test_a_figure_gets_higher_for_names_that_have_no_room_but_not_without_end():
    few, _ = named([(50, 0.5)], size=(4, 2))
    many, _ = named([(50, 0.5)] * 12, size=(4, 2))
    assert few.get_figheight() == 2
    assert 2 < many.get_figheight() <= 3
