"""One look for all figures: colour-blind safe, readable in print, text kept as text in SVG."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito (2008), safe for the common forms of colour blindness; black and yellow left out.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# In inches: what a heading needs, and what a row of a legend takes.
MIN_WIDTH: Final = 8.4
LEGEND_ROW: Final = 0.21
# The same of an entry of a legend: its line with what is around it, and a letter of its label.
_ENTRY: Final = 0.6
_LETTER: Final = 0.085

# Arms that coincide stay visible: an earlier one is drawn wider, a later one over it.
_WIDTHS: Final = (2.4, 1.2, 1.5)
_LINES: Final = ("-", "--", "-")
# Of arms that there is no colour left for.
_LATER_LINES: Final = (":", "-.", (0, (5, 1, 1, 1, 1, 1)))

_MARGIN: Final = 1.5  # Of a logarithmic axis, as a factor.

_SETTINGS: Final[dict[Any, Any]] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 120,
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


def legend_below(figure: Figure, handles: Sequence[Artist]) -> int:
    """Put a legend below all axes, read in rows, as many entries beside each other as fit.

    Returns:
        How many rows it has.
    """
    widths = [_ENTRY + _LETTER * len(str(handle.get_label())) for handle in handles]
    ncols = len(handles)
    while ncols > 1 and _columns_width(widths, ncols) > figure.get_figwidth():
        ncols -= 1
    # Matplotlib fills a legend column by column.
    in_rows = [handle for column in range(ncols) for handle in handles[column::ncols]]
    figure.legend(handles=in_rows, loc="outside lower center", ncols=ncols)
    return -(-len(handles) // ncols)


def _columns_width(widths: Sequence[float], ncols: int) -> float:
    return sum(max(widths[column::ncols]) for column in range(ncols))


def set_heading(figure: Figure, title: str) -> None:
    """Write a heading above all axes; none if it is empty."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure in the format that the suffix says: the same figure gives the same file."""
    # Without what the file would tell of the day and of the library's version.
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata)
