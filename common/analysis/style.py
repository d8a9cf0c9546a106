"""One look for all figures: colour-blind safe, readable in print, text kept as text in SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Blue, vermilion, green, purple, orange and sky blue of Okabe and Ito, "Color Universal Design"
# (2008), safe for the common forms of colour blindness; its black and yellow are left out.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# The same for letters, which are thin: so dark that each is readable on white (WCAG AA, 4.5:1).
LABEL_COLOURS: Final = ("#00659E", "#B34F00", "#00775A", "#A3457A", "#8A5F00", "#1B75A8")
# Of what others are compared with; the last is the lightest that is readable.
GREYS: Final = ("#4C4C4C", "#666666", "#808080", "#999999")
LABEL_GREY: Final = "#595959"
GRID: Final = "#B0B0B0"

# In inches: what a heading needs.
MIN_WIDTH: Final = 8.4

# Arms that coincide stay visible: an earlier one is drawn wider, a later one over it.
_WIDTHS: Final = (2.4, 1.2, 1.5)
_LINES: Final = ("-", "--", "-")
# Of arms that there is no colour left for.
_LATER_LINES: Final = (":", "-.", (0, (5, 1, 1, 1, 1, 1)))

_DPI: Final = 120
_MARGIN: Final = 1.5  # Of a logarithmic axis, as a factor.

_SETTINGS: Final[dict[Any, Any]] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    # As saved: places that are found before saving are right then.
    "figure.dpi": _DPI,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "savefig.dpi": _DPI,
    "svg.fonttype": "none",
    # Otherwise the names of an SVG's parts are drawn anew every time.
    "svg.hashsalt": "flowerbed",
}


@contextmanager
def flowerbed_style() -> Iterator[None]:
    """Draw in the suite's style inside the block."""
    with mpl.rc_context(_SETTINGS):
        yield


def line_style(position: int) -> dict[str, Any]:
    """Return what the line of an arm looks like, given its place among the arms."""
    cycle = position // len(COLOURS)
    line = (
        _LATER_LINES[(cycle - 1) % len(_LATER_LINES)] if cycle else _LINES[position % len(_LINES)]
    )
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": line,
        "linewidth": _WIDTHS[position % len(_WIDTHS)],
    }


def label_colour(colour: str) -> str:
    """Return the colour of letters that name what is drawn in a colour of the style."""
    return LABEL_COLOURS[COLOURS.index(colour)] if colour in COLOURS else LABEL_GREY


def logarithmic_costs(axis: Axes, low: float, high: float) -> None:
    """Give costs a logarithmic horizontal axis, whose numbers are written out.

    Args:
        axis: The axes.
        low: The least cost that is shown, positive.
        high: The highest, which may be the same.
    """
    axis.set_xscale("log")
    axis.set_xlim(low / _MARGIN, high * _MARGIN)
    marks = (1, 2, 3, 5) if high < 10 * low else (1, 3) if high < 300 * low else (1,)
    axis.xaxis.set_major_locator(LogLocator(subs=marks))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,.10g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def label_values(axis: Axes, label: str, *, is_share: bool) -> None:
    """Say what a vertical axis shows.

    Args:
        axis: The axes, whose vertical axis has its scale.
        label: What the values are; with their unit, unless they are shares.
        is_share: Whether the values are fractions, which the axis has in percent, as tables have.
    """
    axis.set_ylabel(f"{label} (%)" if is_share else label)
    if is_share:
        axis.yaxis.set_major_formatter(FuncFormatter(_percent))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _percent(share: float, _: int | None) -> str:
    # Without what is left where 0 was computed, and without its sign.
    return f"{round(100 * share, 6) + 0.0:.10g}"


def set_heading(figure: Figure, title: str) -> None:
    """Write a heading above all axes; none if it is empty."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure in the format that the suffix says: the same figure gives the same file."""
    # Without what the file would tell of the day and of the library's version.
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata)
