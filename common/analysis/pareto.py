"""What is reached at what cost: a point an arm, and the front of those that no other beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.analysis.named_points import Floats, NamedPoint, marker_styles, write_all_names
from common.analysis.statistics import Estimate
from common.analysis.style import (
    GREYS,
    MIN_WIDTH,
    flowerbed_style,
    label_values,
    logarithmic_costs,
    save_figure,
    set_heading,
)

_HEIGHT: Final = 3.6  # Inches, which may become more.
_FRONT: Final[dict[str, Any]] = {"color": GREYS[-1], "linewidth": 1.2, "zorder": 1}


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
    *,
    is_share: bool = False,
) -> None:
    """Draw values against costs, which have a logarithmic axis.

    A point is an arm, with its name, and with the 95 % interval of its value if there is one. The
    grey line is the front: what is reached at most for a cost.

    Args:
        panels: Side by side, with the same axes.
        path: Where to save; the suffix says the format. The same points give the same file.
        labels: What costs and what values are, with their units, unless values are shares.
        bounds: Lowest and highest value that is possible; an interval ends there.
        title: Heading of the figure; none if empty.
        is_share: Whether values are fractions, which the axis has in percent.
    """
    styles = marker_styles(name for panel in panels for name in panel.points)
    costs = [point.cost for panel in panels for point in panel.points.values()]
    with flowerbed_style():
        figure = Figure(
            figsize=(max(MIN_WIDTH, 4.4 * len(panels) + 1.6), _HEIGHT), layout="constrained"
        )
        grid = figure.subplots(1, len(panels), sharex="all", sharey="all", squeeze=False)[0]
        fronts = {}
        for axis, panel in zip(grid, panels, strict=True):
            axis.set_title(panel.title)
            axis.set_xlabel(labels[0])
            logarithmic_costs(axis, min(costs, default=1.0), max(costs, default=1.0))
            fronts[axis] = _draw(axis, panel, styles, bounds)
        label_values(grid[0], labels[1], is_share=is_share)
        set_heading(figure, title)
        named = {
            axis: [
                NamedPoint(name, (point.cost, point.value.value), styles[name]["color"])
                for name, point in panel.points.items()
            ]
            + _name_of_front(fronts[axis])
            for axis, panel in zip(grid, panels, strict=True)
        }
        drawn = {
            axis: [front, *(ends for ends in _intervals(panel, bounds) if np.isfinite(ends).all())]
            for (axis, front), panel in zip(fronts.items(), panels, strict=True)
        }
        write_all_names(figure, named, drawn, growth=0.8)
        save_figure(figure, path)


def _draw(
    axis: Axes,
    panel: CostPanel,
    styles: Mapping[str, Mapping[str, Any]],
    bounds: tuple[float, float],
) -> Floats:
    """Draw a panel, and return the corners of its front: shape [corners, 2]."""
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
    for (name, point), (low, high) in zip(
        panel.points.items(), _intervals(panel, bounds), strict=True
    ):
        axis.plot(point.cost, point.value.value, linestyle="none", **styles[name])
        axis.vlines(point.cost, low[1], high[1], color=styles[name]["color"], linewidth=1.0)
    corners = [(costs[place], values[place]) for place in front[:1]]
    for earlier, later in pairwise(front):
        corners += [(costs[later], values[earlier]), (costs[later], values[later])]
    return np.array(corners).reshape(-1, 2)


def _intervals(panel: CostPanel, bounds: tuple[float, float]) -> list[Floats]:
    """Return the ends of every arm's interval, as points: shape [2, 2]."""
    return [
        np.array(
            [(point.cost, np.clip(end, *bounds)) for end in (point.value.low, point.value.high)]
        )
        for point in panel.points.values()
    ]


def _name_of_front(corners: Floats) -> list[NamedPoint]:
    """Return the front's name, at the middle of its longest level; none if it is a point."""
    levels = [
        (np.log(right[0] / left[0]), (float(np.sqrt(left[0] * right[0])), float(left[1])))
        for left, right in zip(corners[::2], corners[1::2], strict=False)
    ]
    return [NamedPoint("front", max(levels)[1], _FRONT["color"])] if levels else []
