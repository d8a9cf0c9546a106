import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from common.analysis.curves import Panel, Published, plot_panels
from common.analysis.statistics import estimate

ANY = (-np.inf, np.inf)
POSITIVE = (0, np.inf)


def panel(
    *,
    title="a panel",
    label="a label",
    bounds=POSITIVE,
    published=(),
    references=(),
    is_share=False,
    **curves,
):
    arrays = {name: np.array(values, dtype=float) for name, values in curves.items()}
    return Panel(title, label, arrays, bounds, dict(published), references, is_share)


def is_grey(colour):
    digits = to_hex(colour)[1:]
    return digits[0:2] == digits[2:4] == digits[4:6]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Returns the figure that rows of panels are drawn as, without what takes long: to save it."""

    def draw(*rows, title=""):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
            plot_panels(rows, tmp_path / "figure.png", title)
        (figure,) = saved
        return figure

    return draw


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    path = tmp_path_factory.mktemp("curves") / "figure.svg"
    one, two = [[0.3, 0.4]], [[0.3, 0.4], [0.5, 0.6]]
    published = {"FedProx": Published(np.array([0, 2]), np.array([0.1, 0.2]))}
    rows = [
        [
            panel(title="0 % stragglers", label="training loss", FedAvg=one, FedProx=one),
            panel(title="90 % stragglers", label="training loss", FedProx=two),
        ],
        [
            panel(label="test accuracy", FedAvg=one, FedProx=one, published=published),
            panel(label="test accuracy", FedProx=two),
        ],
    ]
    before = dict(mpl.rcParams)
    plot_panels(rows, path, "Heading")
    assert dict(mpl.rcParams) == before, "the style stays inside"
    return ET.parse(path).getroot()


def test_text_stays_text_and_names_panels_axes_arms_and_the_figure(svg):
    texts = ["".join(node.itertext()) for node in svg.iter() if node.tag.endswith("}text")]
    told = ["Heading", "0 % stragglers", "90 % stragglers", "training loss", "test accuracy"]
    assert {text: texts.count(text) for text in told} == dict.fromkeys(told, 1)
    names = ("FedAvg", "FedProx", "dotted: published")
    assert [texts.count(name) for name in names] == [2, 2, 1]
    assert texts.count("round") == 2  # A column has one, below.


def test_an_arm_with_several_runs_has_a_band_and_one_of_one_run_has_none(svg):
    ids = [node.get("id") or "" for node in svg.iter()]
    assert sum(id_.startswith("FillBetweenPolyCollection") for id_ in ids) == 2


def test_a_curve_is_the_mean_and_its_band_the_interval(draw):
    curves = [[0.1, 0.2, 0.9], [0.3, 0.1, 0.8], [0.2, 0.6, 0.7]]
    (axis,) = draw([panel(bounds=ANY, a=curves)]).axes
    (line,) = axis.lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.3, 0.8])
    (band,) = axis.collections
    vertices = band.get_paths()[0].vertices
    for i, values in enumerate(np.transpose(curves), 1):
        expected = estimate(values)
        ends = vertices[vertices[:, 0] == i, 1]
        np.testing.assert_allclose([ends.min(), ends.max()], [expected.low, expected.high])


def test_a_band_ends_where_values_end(draw):
    wide = [[0.1, 0.9], [0.9, 0.9], [0.9, 0.1]]
    for bounds, ends in (((0, 1), (0, 1)), ((0, np.inf), (0, None))):
        (axis,) = draw([panel(a=wide, bounds=bounds)]).axes
        low, high = (
            extreme(axis.collections[0].get_paths()[0].vertices[:, 1]) for extreme in (min, max)
        )
        assert low == ends[0]
        assert high == 1 if ends[1] else high > 1


def test_published_curves_are_dotted_in_the_colour_of_their_arm(draw):
    published = {"b": Published(np.array([0, 5, 10]), np.array([0.1, 0.5, 0.4]))}
    first, second = draw(
        [panel(a=[[0.1]], b=[[0.2]], published=published), panel(a=[[0.1]], b=[[0.2]])]
    ).axes
    (dotted,) = [line for line in first.lines if line.get_linestyle() == ":"]
    np.testing.assert_array_equal(dotted.get_xdata(), [0, 5, 10])
    np.testing.assert_array_equal(dotted.get_ydata(), [0.1, 0.5, 0.4])
    assert to_hex(dotted.get_color()) == to_hex(first.lines[1].get_color())
    assert all(line.get_linestyle() != ":" for line in second.lines)


def labels(figure):
    """Returns the names that stand right of each panel, from above."""
    return [
        [text.get_text() for text in sorted(axis.texts, key=lambda text: -text.xy[1])]
        for axis in figure.axes
    ]


def test_a_row_names_every_arm_once_as_far_right_as_it_is(draw):
    one, two = [[0.1, 0.2]], [[0.1, 0.3]]
    assert labels(draw([panel(a=one, b=two), panel(b=one, c=two)])) == [["a"], ["c", "b"]]
    assert labels(draw([panel(a=one), panel(b=one)])) == [["a"], ["b"]]
    rows = draw([panel(a=one), panel(a=one, b=two)], [panel(b=one), panel(a=two)])
    assert labels(rows) == [[], ["b", "a"], ["b"], ["a"]]


def test_that_dotted_is_published_is_told_once_a_row_below_names_and_only_where_it_is(draw):
    published = {name: Published(np.array([1]), np.array([0.5])) for name in "ab"}
    curves = {"a": [[0.1]], "b": [[0.2]]}
    having, without = panel(**curves, published=published), panel(**curves)
    note = "dotted: published"
    assert labels(draw([having, having])) == [[], ["b", "a", note]]
    assert labels(draw([having, without])) == [[note], ["b", "a"]]
    assert labels(draw([without, without])) == [[], ["b", "a"]]
    assert labels(draw([without], [having])) == [[], ["b", "a", note]]


def test_the_note_on_published_curves_has_no_line_and_no_arm_s_colour(draw):
    published = {"a": Published(np.array([1]), np.array([0.5]))}
    having, without = panel(a=[[0.1]], published=published), panel(a=[[0.1]])
    assert len(draw([having]).artists) == len(draw([without]).artists)
    (note,) = (text for text in draw([having]).axes[0].texts if "published" in text.get_text())
    assert to_hex(note.get_color()) == "#000000"


def ticks(axis):
    """Returns what is written beside the vertical axis, from below, by where it stands."""
    axis.figure.draw_without_rendering()
    low, high = axis.get_ylim()
    labels = zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)
    return {round(place, 9): label.get_text() for place, label in labels if low <= place <= high}


def test_a_share_has_an_axis_in_percent_whatever_its_scale(draw):
    curves = {"a": [[0.0, 0.9]]}
    share, number = draw([panel(is_share=True, **curves)], [panel(**curves)]).axes
    assert (share.get_ylabel(), number.get_ylabel()) == ("a label (%)", "a label")
    assert ticks(share) == {0: "0", 0.2: "20", 0.4: "40", 0.6: "60", 0.8: "80"}
    assert ticks(number)[0.2] == "0.2"
    assert share.lines[0].get_ydata().tolist() == [0.0, 0.9]
    (wide,) = draw([panel(is_share=True, a=[[0.0008, 0.9]])]).axes
    assert wide.get_yscale() == "log"
    assert ticks(wide) == {0.001: "0.1", 0.01: "1", 0.1: "10", 1: "100"}
    assert {label.get_text() for label in wide.get_yticklabels(minor=True)} == {""}


def test_a_tick_that_is_0_but_for_rounding_is_written_0(draw):
    (axis,) = draw([panel(is_share=True, a=[[0.1, 0.5]])]).axes
    written = axis.yaxis.get_major_formatter()
    assert [written(value) for value in (5.5e-17, -5.5e-17, 0.29, 0.125)] == [
        *("0", "0", "29", "12.5")
    ]


def test_an_arm_that_was_stopped_at_once_is_named_where_it_has_a_curve(draw):
    stopped = panel(a=[[0.1, 0.2]], b=[[np.nan, np.nan]])
    assert labels(draw([panel(b=[[0.3, np.nan]]), stopped])) == [["b"], ["a"]]


def test_quantities_of_arms_that_share_colours_stand_above_each_other_each_with_names(draw):
    names = [f"arm {number}" for number in range(7)]
    curves = {name: [[0.1]] for name in names}
    figure = draw([panel(label="one", **curves)], [panel(label="other", **curves)])
    above, below = figure.axes
    assert labels(figure) == [names, names]
    assert above.get_position().y0 > below.get_position().y1


def test_an_arm_looks_the_same_in_every_panel_and_unlike_the_others(draw):
    axes = draw([panel(a=[[0.1]], b=[[0.2]]), panel(b=[[0.1]], c=[[0.2]])]).axes
    a, b, again, c = (to_hex(line.get_color()) for axis in axes for line in axis.lines)
    assert b == again
    assert len({a, b, c}) == 3


@pytest.mark.parametrize(
    ("curves", "scale"),
    [
        ([[1.0, 31.0]], "log"),
        ([[1.0, 30.0]], "linear"),
        ([[0.0, 31.0]], "linear"),
        ([[-1.0, 31.0]], "linear"),
        ([[np.nan, 1.0, np.inf, 31.0]], "log"),
        ([[1.0, 1.0], [1.0, 100.0]], "log"),  # The mean counts.
        ([[1.0, 1.0], [1.0, 50.0]], "linear"),
        ([[np.nan]], "linear"),
    ],
)
def test_an_axis_is_logarithmic_for_positive_values_far_apart(draw, curves, scale):
    (axis,) = draw([panel(a=curves)]).axes
    assert axis.get_yscale() == scale


def test_it_is_linear_where_a_band_may_be_negative(draw):
    """A logarithmic axis would not show the part of it that is."""
    (axis,) = draw([panel(bounds=(-1, 1), a=[[0.9, 0.1], [0.9, -0.09]])]).axes
    assert axis.get_yscale() == "linear"


def test_the_panels_of_a_row_share_their_axis(draw):
    first, second, below, beside = draw(
        [panel(a=[[1.0]]), panel(a=[[50.0]])], [panel(a=[[2.0]]), panel(a=[[3.0]])]
    ).axes
    assert first.get_yscale() == second.get_yscale() == "log"
    assert first.get_ylim() == second.get_ylim()
    assert below.get_yscale() == beside.get_yscale() == "linear"
    assert below.get_ylim() == beside.get_ylim() != first.get_ylim()


def test_quantities_of_one_panel_stand_side_by_side_each_with_its_axis(draw):
    loss, accuracy = draw(
        [panel(title="MNIST", label="loss", a=[[1.0, 50.0]])], [panel(label="accuracy", a=[[0.5]])]
    ).axes
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("MNIST", "")
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert loss.get_position().y0 == accuracy.get_position().y0
    assert loss.get_position().x1 < accuracy.get_position().x0


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_curves_give_the_same_bytes(tmp_path, suffix, start):
    curves = np.random.default_rng(0).random((3, 5))
    files = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    for file in files:
        plot_panels([[panel(a=curves, b=curves / 2)]], file, "A title")
    content = files[0].read_bytes()
    assert content == files[1].read_bytes()
    assert content.startswith(start)
    assert mpl.__version__.encode() not in content


def test_an_arm_of_one_round_is_a_horizontal_line_with_its_interval(draw):
    curves = {"a": [[0.1, 0.2, 0.3]], "once": [[0.2], [0.4]], "alone": [[0.5]]}
    (axis,) = draw([panel(bounds=ANY, **curves)]).axes
    _, once, alone = axis.lines
    for line, height in ((once, 0.3), (alone, 0.5)):
        np.testing.assert_allclose(line.get_ydata(), height)
        assert line.get_xdata() == [0, 1]  # In parts of the axis: from end to end.
    (band,) = axis.patches
    expected = estimate(np.array([0.2, 0.4]))
    np.testing.assert_allclose(
        [band.get_y(), band.get_y() + band.get_height()], [expected.low, expected.high]
    )
    assert axis.get_xlim()[1] < 4


def test_an_arm_of_one_round_beside_others_of_more_takes_none_of_their_colours(draw):
    figure = draw([panel(once=[[0.2]], a=[[0.1, 0.2]], other=[[0.3]], b=[[0.1, 0.3]])])
    colours = {line.get_label(): to_hex(line.get_color()) for line in figure.axes[0].lines}
    styles = [line.get_linestyle() for line in figure.axes[0].lines]
    alone = draw([panel(a=[[0.1, 0.2]], b=[[0.1, 0.3]])])
    assert {k: colours[k] for k in "ab"} == {
        line.get_label(): to_hex(line.get_color()) for line in alone.axes[0].lines
    }
    for name in ("once", "other"):
        assert is_grey(colours[name])
    assert len({*colours.values()}) == 4
    assert styles[0] == styles[2] == "--"


def test_curves_may_differ_in_length(draw):
    (axis,) = draw([panel(a=[[0.1, 0.2, 0.3]], b=[[0.1, 0.2]])]).axes
    assert [len(line.get_xdata()) for line in axis.lines] == [3, 2]


def test_a_reference_is_grey_however_many_rounds_it_has(draw):
    figure = draw(
        [panel(a=[[0.1, 0.2]], anchor=[[0.3, 0.4]], b=[[0.1, 0.3]], references=["anchor"])]
    )
    colours = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert {name for name, colour in colours.items() if is_grey(colour)} == {"anchor"}
    assert [line.get_linestyle() != "-" for line in figure.axes[0].lines] == [False, True, True]
    (texts,) = ({text.get_text(): text.get_color() for text in a.texts} for a in figure.axes)
    assert {name for name, colour in texts.items() if is_grey(colour)} == {"anchor"}


def test_no_line_leads_to_the_label_of_a_shorter_curve(tmp_path, monkeypatch):
    ends = {}
    monkeypatch.setattr(
        "common.analysis.curves.write_labels",
        lambda figure, of_axes, notes: ends.update(
            {end.name: end.x for of_axis in of_axes.values() for end in of_axis}
        ),
    )
    curves = {"long": np.ones((1, 20)), "short": np.zeros((1, 3)), "once": np.ones((1, 1))}
    plot_panels([[Panel("", "loss", curves, (0, 1))]], tmp_path / "figure.svg")
    assert ends == {"long": 20.0, "short": None, "once": None}
