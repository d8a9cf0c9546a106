from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from common.analysis.direct_labels import CurveEnd, named_once, spread, write_labels
from common.analysis.style import COLOURS, LABEL_COLOURS, line_style

LONG = "FedAvg, top-k 0.1 % after warm-up, EF, m = 0.9"


@st.composite
def crowds(draw):
    """Returns the arguments of a call that has room enough."""
    positions = draw(st.lists(st.floats(-50, 150), max_size=12))
    apart = draw(st.floats(0.5, 20))
    low = draw(st.floats(-20, 20))
    room = draw(st.floats(1e-6, 100))
    return positions, apart, low, low + apart * max(0, len(positions) - 1) + room


@settings(max_examples=40)
@given(crowds())
def test_moved_positions_are_apart_within_bounds_and_in_their_order(crowd):
    positions, apart, low, high = crowd
    moved = spread(*crowd)
    assert len(moved) == len(positions)
    order = sorted(range(len(positions)), key=lambda place: positions[place])
    in_order = [moved[place] for place in order]
    assert all(later - earlier >= apart - 1e-9 for earlier, later in pairwise(in_order))
    assert all(low - 1e-9 <= position <= high + 1e-9 for position in moved)


@settings(max_examples=40)
@given(crowds(), st.integers(0, 2**32 - 1))
def test_no_other_positions_that_are_allowed_are_closer_by_squares(crowd, seed):
    positions, apart, low, high = crowd
    moved = spread(*crowd)
    # Any allowed positions, and hence those between them and the result, are no better.
    gaps = np.diff(np.sort(np.random.default_rng(seed).random(len(positions))), prepend=0)
    room = high - low - apart * max(0, len(positions) - 1)
    in_order = low + np.cumsum(gaps) * room + apart * np.arange(len(positions))
    other = np.empty(len(positions))
    other[np.argsort(positions, kind="stable")] = in_order

    def cost(places):
        return float(np.square(np.subtract(places, positions)).sum())

    for share in (1, 0.01):
        between = (1 - share) * np.array(moved) + share * other
        assert cost(moved) <= cost(between) + 1e-6


@given(st.lists(st.integers(0, 10), min_size=1, unique=True))
def test_positions_that_are_apart_stay(positions):
    assert spread(positions, 1, 0, 10) == pytest.approx(positions)


def test_positions_by_hand():
    assert spread([5, 5, 1], 2, 0, 10) == [4, 6, 1]
    assert spread([0, 0, 0], 2, 0, 10) == [0, 2, 4]
    assert spread([10, 9, 9], 2, 0, 10) == [10, 6, 8]
    assert spread([], 2, 0, 0) == []
    with pytest.raises(ValueError, match=r"^high=3 is not allowed: it must be at least 4\.$"):
        spread([1, 2, 3], 2, 0, 3)


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1, max_size=5))
def test_a_row_tells_every_name_once_and_in_the_last_panel_that_has_it(row):
    named = named_once(row)
    told = [name for names in named for name in names]
    assert sorted(told) == sorted({name for names in row for name in names})
    for place, names in enumerate(named):
        for name in names:
            assert name in row[place]
            assert not any(name in right for right in row[place + 1 :])


def labelled(shape, *lasts, x=9.0, note=()):
    """Returns a figure with labels of curves, as many right of each axes as it has last values.

    Axes of those places have a note.
    """
    figure = Figure(figsize=(3 * shape[1], 2.2 * shape[0]), layout="constrained")
    grid = figure.subplots(*shape, squeeze=False, sharey="row")
    for axis in grid.flat:
        axis.set(xlim=(0, 10), ylim=(0, 1), xlabel="round", ylabel="accuracy", title="A panel")
    ends = {
        axis: [
            CurveEnd(f"{LONG}, {number}", x, y, line_style(number)) for number, y in enumerate(of)
        ]
        for axis, of in zip(grid.flat, lasts, strict=True)
    }
    before = figure.get_figwidth()
    write_labels(figure, ends, {grid.flat[place]: "dotted: published" for place in note})
    return figure, before


def boxes(figure):
    figure.draw_without_rendering()
    return [text.get_window_extent() for axis in figure.axes for text in axis.texts]


RANDOM = [*np.random.default_rng(0).random(16)]


@pytest.mark.parametrize(
    ("shape", "lasts"),
    [
        ((1, 1), [[0.2, 0.8]]),
        ((1, 1), [[0.5, 0.5]]),
        ((1, 1), [[0.0] * 6]),
        ((1, 1), [[1.0] * 16]),
        ((2, 1), [RANDOM, [0.5] * 16]),
        ((1, 2), [[0.1, 0.9, 0.9], [0.3, 0.31, 0.32, 0.33, 0.34, 0.35]]),
        ((2, 2), [[], [0.5] * 6, [0.4], [0.2, 0.1]]),
    ],
)
def test_no_label_overlaps_another_or_axes_and_all_are_inside(shape, lasts):
    figure, _ = labelled(shape, *lasts)
    found = boxes(figure)
    assert len(found) == sum(map(len, lasts))
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    for box in found:
        assert not any(box.overlaps(axis.bbox) for axis in figure.axes)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("lasts", [[0.0, 0.0, 0.9], [0.5] * 16, []])
def test_a_note_stands_below_all_labels_and_has_no_line(lasts):
    figure, _ = labelled((1, 2), [0.5], lasts, note=[1])
    *names, note = boxes(figure)[1:]
    (*_, text) = figure.axes[1].texts
    assert (text.get_text(), text.get_color()) == ("dotted: published", "black")
    assert all(note.y1 < name.y0 for name in names)
    assert all(note.x0 == pytest.approx(name.x0, abs=2) for name in names)
    assert figure.bbox.y0 <= note.y0
    assert note.x1 <= figure.bbox.x1
    assert len(figure.artists) == 2 * (1 + len(lasts))


def test_the_figure_grows_by_the_labels_and_panels_keep_their_width():
    bare, width = labelled((2, 1), [], [])
    figure, _ = labelled((2, 1), [0.5] * 16, [0.5])
    assert bare.get_figwidth() == width
    widths = [axis.bbox.width / axis.figure.dpi for axis in (*bare.axes, *figure.axes)]
    assert max(widths) - min(widths) < 0.1
    letters = max(box.width for box in boxes(figure)) / figure.dpi
    assert 0 < figure.get_figwidth() - width - letters < 0.5
    heights = [axis.bbox.height for axis in figure.axes]
    assert max(heights) - min(heights) < 1
    assert figure.get_figheight() > bare.get_figheight()


def test_the_higher_a_curve_ends_the_higher_is_its_label_and_of_equal_ones_the_first():
    figure, _ = labelled((1, 1), [0.5, 0.5, 0.9, 0.1])
    centres = [(box.y0 + box.y1) / 2 for box in boxes(figure)]
    assert sorted(range(4), key=lambda i: -centres[i]) == [2, 0, 1, 3]


@pytest.mark.parametrize(("x", "part"), [(9.0, 0.9), (None, 1.0)])
def test_a_line_leads_from_the_end_of_a_curve_to_a_piece_of_it_beside_its_name(x, part):
    figure, _ = labelled((1, 1), [0.7, 0.7], x=x)
    (axis,) = figure.axes
    for position, text in enumerate(axis.texts):
        leader, piece = figure.artists[2 * position : 2 * position + 2]
        assert leader.get_xydata()[0] == pytest.approx([part, 0.7])
        assert leader.get_xydata()[1] == pytest.approx(piece.get_xydata()[0])
        assert piece.get_ydata() == pytest.approx([text.xy[1]] * 3)
        assert 1 < piece.get_xdata()[0] < piece.get_xdata()[2]
        assert (leader.get_color(), piece.get_color()) == (COLOURS[position],) * 2
        assert text.get_color() == LABEL_COLOURS[position]
        assert piece.get_linewidth() == line_style(position)["linewidth"]
