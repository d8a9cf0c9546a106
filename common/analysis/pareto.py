"""What is reached at what cost: a point an arm, and the front of those that no other beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common.analysis.numbered import arm_handles, arm_marker, number_arms, write_numbers
from common.analysis.statistics import Estimate
from common.analysis.style import (
    LEGEND_ROW,
    MIN_WIDTH,
    flowerbed_style,
    legend_below,
    logarithmic_costs,
    save_figure,
    set_heading,
)

_HEIGHT: Final = 3.6  # Inches without the legend.
_FRONT: Final[dict[str, Any]] = {"color": "0.6", "linewidth": 1.2, "zorder": 1}


@dataclass(frozen=True)
class Point:
    """An arm.

    Attributes:
        cost: What it took, positive.
        value: What it reached, finite.
    """

    cost: float
    value: Estimate


@dataclass(frozen=True)
class CostPanel:
    """One pair of axes.

    Attributes:
        title: What is special to it.
        points: Name of an arm -> its point.
    """

    title: str
    points: Mapping[str, Point]


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return which points no other beats.

    A point beats another if it costs no more and reaches no less, and is not equal to it.

    Args:
        costs: Of every point; less is better.
        values: Of every point; more is better.

    Returns:
        Places of the points, by rising cost; of equal points, all.
    """
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        point = (costs[place], values[place])
        if (
            not front
            or point[1] > values[front[-1]]
            or point == (costs[front[-1]], values[front[-1]])
        ):
            front.append(place)
    return front


def plot_pareto(
    panels: Sequence[CostPanel],
    path: Path,
    labels: tuple[str, str],
    bounds: tuple[float, float],
    title: str = "",
) -> None:
    """Draw values against costs, which have a logarithmic axis.

    A point is an arm, with the 95 % interval of its value if there is one, and has its number in
    the legend beside it. The grey line is the front: what is reached at most for a cost.

    Args:
        panels: Side by side, with the same axes.
        path: Where to save; the suffix says the format. The same points give the same file.
        labels: What costs and what values are, with their units.
        bounds: Lowest and highest value that is possible; an interval ends there.
        title: Heading of the figure; none if empty.
    """
    numbers = number_arms([name for panel in panels for name in panel.points])
    costs = [point.cost for panel in panels for point in panel.points.values()]
    with flowerbed_style():
        figure = Figure(
            figsize=(max(MIN_WIDTH, 4.4 * len(panels) + 1.6), _HEIGHT), layout="constrained"
        )
        grid = figure.subplots(1, len(panels), sharex="all", sharey="all", squeeze=False)[0]
        for axis, panel in zip(grid, panels, strict=True):
            axis.set_title(panel.title)
            axis.set_xlabel(labels[0])
            logarithmic_costs(axis, min(costs, default=1.0), max(costs, default=1.0))
            _draw(axis, panel, numbers, bounds)
        grid[0].set_ylabel(labels[1])
        handles = [*arm_handles(numbers, linestyle="none"), Line2D([], [], label="front", **_FRONT)]
        figure.set_figheight(_HEIGHT + LEGEND_ROW * legend_below(figure, handles))
        set_heading(figure, title)
        figure.draw_without_rendering()  # Gives points their places on the page.
        for axis, panel in zip(grid, panels, strict=True):
            points = {
                numbers[name]: (point.cost, point.value.value)
                for name, point in panel.points.items()
            }
            write_numbers(axis, points)
        save_figure(figure, path)


def _draw(
    axis: Axes, panel: CostPanel, numbers: Mapping[str, int], bounds: tuple[float, float]
) -> None:
    points = list(panel.points.values())
    costs, values = [point.cost for point in points], [point.value.value for point in points]
    front = pareto_front(costs, values)
    # What is reached at a cost is reached for any higher one.
    axis.plot(
        [costs[place] for place in front],
        [values[place] for place in front],
        drawstyle="steps-post",
        **_FRONT,
    )
    for name, point in panel.points.items():
        marker = arm_marker(numbers[name])
        axis.plot(point.cost, point.value.value, linestyle="none", **marker)
        low, high = np.clip([point.value.low, point.value.high], *bounds)
        axis.vlines(point.cost, low, high, color=marker["color"], linewidth=1.0)
