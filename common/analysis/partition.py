"""A picture of a realised partition: who has how much of what."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.analysis.style import COLOURS, LABEL_COLOURS, flowerbed_style, save_figure
from common.errors import UserInputError
from common.partition.csr import IntArray

# Up to here a client is a column wide enough to be looked up by its number.
_MOST_NUMBERED_CLIENTS = 60
# Up to here a column is at least a pixel wide.
_MOST_COLUMNS = 1_000
# Up to here a label's row is tall enough for its number.
_MOST_NUMBERED_LABELS = 25
# Up to here (clients x labels) a cell is large enough for its count.
_MOST_NUMBERED_CELLS = 160
# Sizes go on a logarithmic scale if the largest client has this many times the median.
_SKEWED = 8

# One hue, from none to opaque: readable with any colour vision, in print, and on a dark page.
_DARKEST = to_rgb(LABEL_COLOURS[0])
_SHARES = ListedColormap([(*_DARKEST, alpha) for alpha in np.linspace(0, 1, 256)]).with_extremes(
    bad=(0.5, 0.5, 0.5, 0.35)
)
_LIGHT_LETTERS = 0.7  # The share from which on letters are white.
_SIZES = COLOURS[0]
_MEDIAN = COLOURS[1]
_DPI = 200
_THOUSANDS = "{x:,.0f}"
_PERCENT = "{x:.0%}"


def plot_partition(counts: IntArray, path: Path, title: str) -> None:
    """Draw a partition and save it.

    Bottom left, every column is a client, and its shades are the shares of its examples that have
    each label; top left, how many examples it has; right, the share of clients with at most so many
    examples. Up to 60 clients stand in their own order. More are grouped by their most frequent
    label, the large ones first: in their own order a thousand columns are noise. Beyond 1,000
    clients a column is the mean of several.

    Args:
        counts: Examples of each label for each client, shape [num_clients, num_classes], with at
            least one example in all; see :func:`common.partition.statistics.label_counts`.
        path: Where to save it; the suffix, .png or .svg, chooses the format.
        title: First line of the picture.

    Raises:
        UserInputError: If the suffix is another, or there is no example to draw.
    """
    if path.suffix not in (".png", ".svg"):
        raise UserInputError(f"path={path} is not allowed: its suffix must be .png or .svg.")
    if counts.ndim != 2 or counts.sum() == 0:
        raise UserInputError(
            f"counts of shape {counts.shape} and sum {counts.sum()} is not allowed: it must be "
            "clients x labels, with at least one example."
        )
    num_clients = len(counts)
    numbered = num_clients <= _MOST_NUMBERED_CLIENTS
    shown = counts if numbered else counts[_by_main_label(counts)]

    with flowerbed_style(), mpl.rc_context({"figure.dpi": _DPI, "savefig.dpi": _DPI}):
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=[2.5, 1], height_ratios=[1, 2])
        mixes = figure.add_subplot(grid[1, 0])
        sizes = figure.add_subplot(grid[0, 0], sharex=mixes)
        _draw_mixes(mixes, shown)
        order = "client" if numbered else "clients, by most frequent label, then size"
        mixes.set_xlabel(order if counts.any(axis=1).all() else f"{order} (grey: no examples)")
        _draw_sizes(sizes, shown.sum(axis=1))
        sizes.set_title(f"{title}\n{num_clients:,} clients, {counts.sum():,} examples")
        _draw_distribution(figure.add_subplot(grid[:, 1]), counts.sum(axis=1))
        save_figure(figure, path)


def _by_main_label(counts: IntArray) -> IntArray:
    """Order clients by most frequent label, then from large to small, empty ones last."""
    sizes = counts.sum(axis=1)
    return np.lexsort((-sizes, counts.argmax(axis=1), sizes == 0))


def _draw_mixes(axes: Axes, counts: IntArray) -> None:
    num_clients, num_classes = counts.shape
    sizes = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(sizes, 1)
    # Averaged here: the drawing library's resampling would also blur a label's row into the next.
    per_column = _clients_per_column(num_clients)
    starts = np.arange(0, num_clients, per_column)
    sums = np.add.reduceat(shares, starts)
    filled = np.add.reduceat(sizes > 0, starts, dtype=np.int64)
    means = np.divide(sums, filled, out=np.full(sums.shape, np.nan), where=filled > 0)
    image = axes.imshow(
        means.T,
        aspect="auto",
        interpolation="nearest",
        cmap=_SHARES,
        # The square root keeps a share of 1/100 apart from none; 0 to 1 keeps pictures comparable.
        norm=PowerNorm(0.5, 0, 1),
        extent=(-0.5, len(starts) * per_column - 0.5, num_classes - 0.5, -0.5),
    )
    axes.set_xlim(-0.5, num_clients - 0.5)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=12, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.set_ylabel("label")
    axes.grid(visible=False)
    if num_classes <= _MOST_NUMBERED_LABELS:
        axes.set_yticks(range(num_classes))
    scale = axes.figure.colorbar(image, ax=axes, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1], pad=0.01)
    scale.ax.yaxis.set_major_formatter(_PERCENT)
    scale.set_label("share of the client's examples", fontsize="small")
    if counts.size <= _MOST_NUMBERED_CELLS:
        for (client, label), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[client, label] > _LIGHT_LETTERS else "black"
                text = axes.text(client, label, f"{count:,}", color=colour, fontsize=7)
                text.set(ha="center", va="center")


def _draw_sizes(axes: Axes, sizes: IntArray) -> None:
    starts = np.arange(0, len(sizes), _clients_per_column(len(sizes)))
    edges = np.append(starts, len(sizes))
    means = np.add.reduceat(sizes, starts) / np.diff(edges)
    # One outline, because a thousand bars are a thousand objects to draw.
    axes.stairs(means, edges - 0.5, fill=True, color=_SIZES)
    axes.axhline(float(np.median(sizes)), color=_MEDIAN, linestyle="--", linewidth=1.3)
    axes.set_ylabel("examples")
    axes.tick_params(labelbottom=False)
    if _skewed(sizes):
        axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.set_ylim(bottom=0)


def _draw_distribution(axes: Axes, sizes: IntArray) -> None:
    median = float(np.median(sizes))
    axes.ecdf(*np.unique(sizes, return_counts=True), color=_SIZES, linewidth=1.8)
    axes.axvline(median, color=_MEDIAN, linestyle="--", linewidth=1.3)
    axes.set_xlabel("examples of a client")
    axes.set_ylabel("share of clients with at most so many")
    if _skewed(sizes):
        axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_xlim(left=0)
    axes.set_title(
        f"smallest {sizes.min():,}, largest {sizes.max():,}\n"
        f"mean {sizes.mean():,.0f}, median {median:,.0f} (dashed)",
        fontsize="small",
    )


def _clients_per_column(num_clients: int) -> int:
    return -(-num_clients // _MOST_COLUMNS)


def _skewed(sizes: IntArray) -> bool:
    return bool(sizes.max() > _SKEWED * max(float(np.median(sizes)), 1.0))
