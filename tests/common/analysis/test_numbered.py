from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from common.analysis.numbered import arm_handles, arm_marker, number_arms, write_numbers


def test_arms_are_numbered_from_one_as_they_come_first():
    assert number_arms(["b", "a", "b", "c"]) == {"b": 1, "a": 2, "c": 3}


def test_more_arms_than_there_are_colours_look_different():
    looks = {(marker["color"], marker["marker"]) for marker in map(arm_marker, range(1, 43))}
    assert len(looks) == 42


def test_the_entries_of_a_legend_have_the_arms_numbers_and_markers():
    a, b = arm_handles({"a": 1, "b": 9}, linestyle="none")
    assert (a.get_label(), b.get_label()) == ("1  a", "9  b")
    assert (b.get_color(), b.get_marker()) == (arm_marker(9)["color"], arm_marker(9)["marker"])
    assert a.get_linestyle() == "None"


def numbered(points):
    """Returns the axes, and the centres of its numbers and points, in points of print."""
    figure = Figure(figsize=(6, 4))
    axis = figure.add_subplot(xlim=(0, 100), ylim=(0, 1))
    write_numbers(axis, dict(enumerate(points, 1)))
    in_print = 72 / figure.dpi
    points = [in_print * axis.transData.transform(text.xy) for text in axis.texts]
    return axis, [p + text.xyann for p, text in zip(points, axis.texts, strict=True)], points


def test_the_numbers_of_a_crowd_overlap_neither_each_other_nor_the_points():
    crowd = [(50 + i // 3, 0.8 + 0.004 * i) for i in range(8)]
    axis, numbers, points = numbered([*crowd, (10, 0.1)])
    assert [text.get_text() for text in axis.texts] == [str(i) for i in range(1, 10)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(numbers, 2)) >= 10
    assert min(np.linalg.norm(a - b) for a in numbers for b in points) >= 10


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), max_size=5))
def test_numbers_stay_within_the_axes_and_close_to_their_points(places):
    axis, numbers, points = numbered(places)
    low, high = 72 / axis.figure.dpi * axis.bbox.get_points()
    for number, point in zip(numbers, points, strict=True):
        assert (number >= low - 1e-6).all()
        assert (number <= high + 1e-6).all()
        assert np.linalg.norm(number - point) <= 25 + 1e-6
