"""Accuracy against bytes, and the time that bytes take on links, as figures."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.analysis.direct_labels import CurveEnd, write_labels
from common.analysis.named_points import marker_styles
from common.analysis.pareto import CostPanel, Point, plot_pareto
from common.analysis.results import Results
from common.analysis.runs import TAIL
from common.analysis.statistics import estimate, tail_mean
from common.analysis.style import (
    COLOURS,
    flowerbed_style,
    label_colour,
    label_values,
    logarithmic_costs,
    save_figure,
    set_heading,
)
from common.replication.comparison import Panels
from common.replication.definition import FigureOf, MoreFigure
from common.replication.metrics import TEST_ACCURACY
from pruning_afo.bandwidth import Cost, Floats, federated, megabytes, megabytes_up
from pruning_afo.links import LINKS, Link, relative_bandwidth, transfers

_LINE: Final[dict[str, Any]] = {"linewidth": 1.2}
_LEAST_WIDTH: Final = 6.0  # In inches, without the names of curves: what a heading needs.
_MARK_EVERY: Final = 12  # Rounds between the markers of a curve.
_COSTS: Final[dict[str, Cost]] = {
    "sent by all clients (MB)": megabytes_up,
    "sent by and to all clients (MB)": megabytes,
}


class RoundParts(NamedTuple):
    """Where the time of a round goes on a link, mean over rounds and seeds, in seconds.

    Attributes:
        down: What the client of median bandwidth takes to get the model.
        up: What it takes to send its reply.
        wait: What the slowest client of the round takes longer.
    """

    down: float
    up: float
    wait: float


# In rows of bars: what the name of a part takes above the bars.
_NAME_ROWS: Final = 0.65
# What a part is told as, its colour, and a hatch that tells it apart without colours.
_PARTS: Final = (
    ("down, median client", COLOURS[5], ""),
    ("up, median client", COLOURS[0], ""),
    ("waiting for the slowest client", COLOURS[4], "///"),
)


def bandwidth_figures(panels: Panels, figure: FigureOf) -> list[MoreFigure]:
    """Return the figures of the bandwidth analysis; none if nothing is sent.

    Args:
        panels: Arms of an experiment.
        figure: That of the experiment: its title heads these, too, and its tail is the last rounds
            whose mean accuracy counts.
    """
    shown = federated(panels)
    if not shown:
        return []
    drawers = (
        (
            "pareto",
            "Test accuracy against bytes sent",
            partial(plot_accuracy_of_bytes, tail=figure.tail),
        ),
        ("bytes", "Test accuracy over bytes sent", plot_accuracy_over_bytes),
        ("links", "Communication time of a round on simulated links", plot_round_times),
    )
    return [
        MoreFigure(name, title, partial(draw, shown, _joined(figure.title, title)))
        for name, title, draw in drawers
    ]


def _joined(heading: str, title: str) -> str:
    return f"{heading}: {title[0].lower()}{title[1:]}" if heading else title


def plot_accuracy_of_bytes(panels: Panels, title: str, path: Path, *, tail: int = TAIL) -> None:
    """Draw accuracy at the end against all bytes sent by clients, with the Pareto front.

    A point is an arm, by the mean of its last rounds with its 95 % interval over seeds; one that
    has no such mean, for it was stopped, is left out.

    Args:
        panels: Side by side.
        title: Heading of the figure.
        path: Where to save; the suffix says the format.
        tail: How many last rounds that is.
    """
    points = {
        name: {arm: point for arm, runs in arms.items() if (point := _point(runs, tail))}
        for name, arms in panels.items()
    }
    plot_pareto(
        [CostPanel(name, of_panel) for name, of_panel in points.items()],
        path,
        ("sent by all clients in all rounds (MB)", f"test accuracy, last {tail} rounds"),
        TEST_ACCURACY.bounds,
        title,
        is_share=TEST_ACCURACY.is_share,
    )


def _point(runs: Results, tail: int) -> Point | None:
    sent = float(np.nansum(megabytes_up(runs), axis=1).mean())
    accuracy = estimate(np.array([tail_mean(c, tail) for c in runs.curves(TEST_ACCURACY.name)]))
    return Point(sent, accuracy) if sent > 0 and np.isfinite(accuracy.value) else None


def plot_accuracy_over_bytes(panels: Panels, title: str, path: Path) -> None:
    """Draw learning curves over the bytes that were sent so far: a column a panel.

    The upper row counts what clients sent, the lower row what they were sent, too. A curve is the
    mean over seeds, with the 95 % interval as a band, at the mean of what was sent; markers tell
    arms apart, and do not stand for rounds.

    Args:
        panels: What to draw.
        title: Heading of the figure.
        path: Where to save; the suffix says the format.
    """
    styles = marker_styles(arm for arms in panels.values() for arm in arms)
    with flowerbed_style():
        size = (max(_LEAST_WIDTH, 4.4 * len(panels) + 1.0), 2.9 * len(_COSTS) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(_COSTS), len(panels), sharex="row", sharey="all", squeeze=False)
        ends = {}
        for axes, (label, cost) in zip(grid, _COSTS.items(), strict=True):
            label_values(axes[0], TEST_ACCURACY.label, is_share=TEST_ACCURACY.is_share)
            low, high = _extent(panels, cost)
            for axis, arms in zip(axes, panels.values(), strict=True):
                logarithmic_costs(axis, low, high)
                axis.set_xlabel(label)
                ends[axis] = _draw_curves(axis, arms, cost, styles)
        for axis, name in zip(grid[0], panels, strict=True):
            axis.set_title(name)
        set_heading(figure, title)
        write_labels(figure, ends)
        save_figure(figure, path)


def _spent(runs: Results, cost: Cost) -> Floats:
    """Return the mean over seeds of what rounds up to each cost together: shape [rounds]."""
    return np.asarray(np.cumsum(cost(runs), axis=1).mean(axis=0))


def _extent(panels: Panels, cost: Cost) -> tuple[float, float]:
    """Return the least and the highest positive number of what was spent."""
    spent = np.concatenate(
        [_spent(runs, cost) for arms in panels.values() for runs in arms.values()]
    )
    positive = spent[spent > 0]
    return (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)


def _draw_curves(
    axis: Axes,
    arms: Mapping[str, Results],
    cost: Cost,
    styles: Mapping[str, Mapping[str, Any]],
) -> list[CurveEnd]:
    """Draw the curves of a panel, and return where those end that have a point."""
    ends = []
    for arm, runs in arms.items():
        style = styles[arm]
        spent, accuracies = _spent(runs, cost), runs.curves(TEST_ACCURACY.name)
        means = [estimate(accuracies[:, place]) for place in range(accuracies.shape[1])]
        values = np.array([mean.value for mean in means])
        finite = np.flatnonzero(np.isfinite(values) & (spent > 0))
        if not len(finite):
            continue
        spent, values = spent[finite], values[finite]
        ends.append(CurveEnd(arm, float(spent[-1]), float(values[-1]), {**style, **_LINE}))
        # From the end, where the line to its name begins.
        every = slice((len(finite) - 1) % _MARK_EVERY, None, _MARK_EVERY)
        axis.plot(spent, values, markevery=every, **style, **_LINE)
        low = np.clip([means[place].low for place in finite], *TEST_ACCURACY.bounds)
        high = np.clip([means[place].high for place in finite], *TEST_ACCURACY.bounds)
        axis.fill_between(spent, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return ends


def plot_round_times(panels: Panels, title: str, path: Path) -> None:
    """Draw what a round's communication takes: a row a panel, a column a link, a bar an arm.

    Args:
        panels: What to draw.
        title: Heading of the figure.
        path: Where to save; the suffix says the format.
    """
    num_bars = [len(arms) for arms in panels.values()]
    rows = [num_bars[0] + _NAME_ROWS * len(_PARTS), *num_bars[1:]]
    with flowerbed_style():
        height = 0.27 * sum(rows) + 0.75 * len(panels) + 0.6
        figure = Figure(figsize=(3.1 * len(LINKS) + 2.6, height), layout="constrained")
        grid = figure.subplots(
            len(panels),
            len(LINKS),
            sharex="col",
            sharey="row",
            squeeze=False,
            height_ratios=rows,
        )
        for axes, (name, arms), num_rows in zip(grid, panels.items(), rows, strict=True):
            for axis, link in zip(axes, LINKS, strict=True):
                _draw_bars(axis, [round_parts(runs, link) for runs in arms.values()])
                axis.set_title(link.name)
            if len(panels) > 1:
                axes[0].set_title(f"{name}\n{LINKS[0].name}")
            axes[0].set_yticks(range(len(arms)), list(arms))
            axes[0].set_ylim(len(arms) - 0.5, len(arms) - 0.5 - num_rows)
        for axis in grid[-1]:
            axis.set_xlabel("seconds a round, training aside")
            axis.xaxis.set_major_locator(MaxNLocator(4))
        set_heading(figure, title)
        figure.draw_without_rendering()  # Gives axes their places on the page.
        figure.set_layout_engine("none")
        first = next(iter(panels.values()))
        _name_parts(grid[0][0], round_parts(next(iter(first.values())), LINKS[0]))
        save_figure(figure, path)


def _name_parts(axis: Axes, bar: RoundParts) -> None:
    """Write what the parts of the first bar are above it, the rightmost part closest."""
    ends = np.cumsum(bar)
    for place, ((label, colour, _), end, width) in enumerate(zip(_PARTS, ends, bar, strict=True)):
        middle = float(end - width / 2)
        line = -0.5 - _NAME_ROWS * (len(_PARTS) - 1 - place)
        text = axis.annotate(
            label,
            (middle, -0.35),
            xytext=(middle, line),
            va="bottom",
            fontsize=9,
            color=label_colour(colour),
        )
        box = axis.transData.inverted().transform(text.get_window_extent())
        # Within the axes, and with its line at the first letters or farther right.
        beyond = max(0.0, float(box[1][0]) - axis.get_xlim()[1])
        text.set_x(max(0.0, middle - beyond))
        axis.plot((middle, middle), (-0.35, line), color=colour, linewidth=0.8)


def _draw_bars(axis: Axes, bars: Sequence[RoundParts]) -> None:
    left = np.zeros(len(bars))
    for (_, colour, hatch), widths in zip(_PARTS, np.array(bars).T, strict=True):
        axis.barh(range(len(bars)), widths, left=left, height=0.7, **_fill(colour, hatch))
        left += widths
    for place, total in enumerate(left):
        axis.annotate(
            _two_digits(total),
            (total, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0.18)
    axis.set_xlim(left=0)


def _fill(colour: str, hatch: str) -> dict[str, Any]:
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0, "hatch": hatch}


def _two_digits(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"


def round_parts(runs: Results, link: Link) -> RoundParts:
    """Return where the time of an arm's rounds goes on a link.

    The client of median bandwidth, among all clients of a seed, moves the mean of what the
    round's clients moved.

    Args:
        runs: The arm, with its recorded seconds on the link.
        link: What clients are connected by.
    """
    of_seeds = []
    columns = (runs.curves(name) for name in ("bytes_up", "bytes_down", link.metric))
    clients = (runs.runs[name].tolist() for name in ("clients_per_round", "num_clients"))
    for seed, up, down, seconds, cohort, num_clients in zip(
        runs.seeds, *columns, *clients, strict=True
    ):
        relative = _median_bandwidth(link, seed, num_clients)
        typical = transfers(
            link, relative, float(np.nanmean(up)) / cohort, float(np.nanmean(down)) / cohort
        )
        wait = float(np.nanmean(seconds)) - typical.seconds
        # Clients of a sampled cohort may all be faster than the median.
        of_seeds.append(RoundParts(typical.down, typical.up, max(0.0, wait)))
    return RoundParts(*(fmean(part) for part in zip(*of_seeds, strict=True)))


@cache
def _median_bandwidth(link: Link, seed: int, num_clients: int) -> float:
    return median(relative_bandwidth(link, seed, client) for client in range(num_clients))
