"""Names of curves beside their ends, in place of a legend."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from scipy.optimize import isotonic_regression

from common.analysis.style import label_colour

# In points of print: letters, the least distance between two labels, and from the axes rightwards
# where a piece of the line begins and ends that a label has before it, and where its letters begin.
_FONT_SIZE: Final = 9
_APART: Final = 11.5
_LINE_BEGINS: Final = 6.0
_LINE_ENDS: Final = 24.0
_LETTERS_BEGIN: Final = 28.0
_INK: Final = "black"
_LEADER: Final[dict[str, Any]] = {"linewidth": 0.6}


@dataclass(frozen=True)
class CurveEnd:
    """What a label is to stand beside.

    Attributes:
        name: The label.
        x: Where the curve ends, in units of the data; None for a line to the end of the axes.
        y: Its last value.
        style: What its line looks like: what :class:`matplotlib.lines.Line2D` takes.
    """

    name: str
    x: float | None
    y: float
    style: Mapping[str, Any]


def spread(positions: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Move positions apart, by the least sum of squares, without changing their order.

    With ``z_i = y_i - i * apart``, in rising order of the positions, those that are apart are the
    ``z`` that do not fall: an isotonic regression.

    Args:
        positions: In any order; of equal ones, the first stays below.
        apart: Least distance between two results.
        low: Least result.
        high: Largest result, at least ``low + apart * (len(positions) - 1)``.

    Returns:
        A position for each, in the order of `positions`.

    Raises:
        ValueError: There is not room enough.
    """
    if not positions:
        return []
    room = high - low - apart * max(0, len(positions) - 1)
    if room < 0:
        raise ValueError(
            f"high={high} is not allowed: it must be at least {low + apart * (len(positions) - 1)}."
        )
    order = np.argsort(positions, kind="stable")
    steps = apart * np.arange(len(positions))
    levels = isotonic_regression(np.asarray(positions, dtype=np.float64)[order] - steps).x
    moved = np.empty(len(positions))
    # Least squares within bounds are those without, moved to the bounds.
    moved[order] = np.clip(levels, low, low + room) + steps
    return [float(position) for position in moved]


def named_once(row: Sequence[Collection[str]]) -> list[list[str]]:
    """Return which names each panel of a row is to tell: every name once, as far right as it is.

    Args:
        row: Names that the panels have, from left to right.
    """
    return [
        [name for name in names if not any(name in right for right in row[place + 1 :])]
        for place, names in enumerate(row)
    ]


def write_labels(
    figure: Figure,
    ends: Mapping[Axes, Sequence[CurveEnd]],
    notes: Mapping[Axes, str] = MappingProxyType({}),
) -> None:
    """Write names of curves right of their axes, beside where they end, apart from each other.

    A label has a piece of its line before it, and a thin line leads there from the end of the
    curve. The figure gets wider and, for many labels, higher, so that panels keep their width.
    Nothing of it may be moved afterwards.

    Args:
        figure: In constrained layout; its axes are subplots of one grid, with their final limits.
        ends: What to write beside which axes.
        notes: What to write below the labels of some of these axes: it is of no single curve, and
            has no line.
    """
    texts: dict[Axes, list[Annotation]] = {}
    for axis, of_axis in ends.items():
        written = [_write(axis, end.name, label_colour(end.style["color"])) for end in of_axis]
        if axis in notes:
            written.append(_write(axis, notes[axis], _INK))
        if written:
            texts[axis] = written
    figure.set_figwidth(figure.get_figwidth() + _total_width(figure, texts))
    figure.draw_without_rendering()  # Gives axes their places on the page.
    lacking = max((_lacking_height(figure, axis, len(of)) for axis, of in texts.items()), default=0)
    if lacking > 0:
        specs = [spec for axis in texts if (spec := axis.get_subplotspec()) is not None]
        num_rows = max(spec.get_gridspec().nrows for spec in specs)
        figure.set_figheight(figure.get_figheight() + num_rows * lacking)
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis, written in texts.items():
        _place(figure, axis, ends[axis], written)


def _write(axis: Axes, letters: str, colour: str) -> Annotation:
    return axis.annotate(
        letters,
        (1, 0.5),
        xycoords="axes fraction",
        xytext=(_LETTERS_BEGIN, 0),
        textcoords="offset points",
        va="center",
        fontsize=_FONT_SIZE,
        color=colour,
    )


def _total_width(figure: Figure, texts: Mapping[Axes, Sequence[Annotation]]) -> float:
    """Return what the labels of all columns of the grid take, in inches."""
    widths: dict[int, float] = {}
    for axis, of_axis in texts.items():
        spec = axis.get_subplotspec()
        assert spec is not None
        letters = max(text.get_window_extent().width for text in of_axis) / figure.dpi
        column = spec.colspan.start
        widths[column] = max(widths.get(column, 0), letters + _LETTERS_BEGIN / 72)
    return sum(widths.values())


def _lacking_height(figure: Figure, axis: Axes, num_labels: int) -> float:
    """Return by how much axes are too low for their labels, in inches."""
    # A little more, for a layout is not exact.
    return (num_labels + 0.5) * _APART / 72 - axis.bbox.height / figure.dpi


def _place(
    figure: Figure, axis: Axes, ends: Sequence[CurveEnd], texts: Sequence[Annotation]
) -> None:
    width, height = 72 * axis.bbox.width / figure.dpi, 72 * axis.bbox.height / figure.dpi
    starts = [_in_axes(axis, end) for end in ends]
    lowest = _APART / 2
    if len(texts) > len(ends):  # The last is a note.
        texts[-1].xy = (1, lowest / height)
        lowest += _APART
    # From below, so that of curves that coincide the first is above.
    levels = spread([height * y for _, y in starts[::-1]], _APART, lowest, height - _APART / 2)[
        ::-1
    ]
    for end, text, start, level in zip(ends, texts[: len(ends)], starts, levels, strict=True):
        y = level / height
        text.xy = (1, y)
        begins, stops = (1 + points / width for points in (_LINE_BEGINS, _LINE_ENDS))
        leader = {"color": end.style["color"], **_LEADER}
        piece = {**end.style, "markevery": [1]}  # With one marker, in its middle.
        for xs, ys, style in (
            ((start[0], begins), (start[1], y), leader),
            ((begins, (begins + stops) / 2, stops), (y, y, y), piece),
        ):
            figure.add_artist(Line2D(xs, ys, transform=axis.transAxes, **style))


def _in_axes(axis: Axes, end: CurveEnd) -> tuple[float, float]:
    """Return where a curve ends, in parts of the axes."""
    low, _ = axis.get_xlim()
    pixels = axis.transData.transform((low if end.x is None else end.x, end.y))
    x, y = axis.transAxes.inverted().transform(pixels)
    return (1.0 if end.x is None else float(x)), float(np.clip(y, 0, 1))
