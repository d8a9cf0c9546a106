"""Learning curves in a grid of panels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from common.analysis.statistics import estimate
from common.analysis.style import (
    LEGEND_ROW,
    flowerbed_style,
    legend_below,
    line_style,
    save_figure,
    set_heading,
)

Floats = NDArray[np.float64]

# What other arms are compared with has no colour.
_REFERENCES: Final = ((0, (6, 2)), (0, (6, 2, 1, 2)), (0, (3, 2)), (0, (6, 2, 1, 2, 1, 2)))
# A quantity whose values span more than this many times the smallest is drawn in logarithms.
_WIDE: Final = 30
# Rows of a legend that a figure's height has room for; it grows with further ones.
_ROWS_WITHIN: Final = 4


class Published(NamedTuple):
    """A curve that somebody else published.

    Attributes:
        rounds: Where it has values, shape [values].
        values: Shape [values].
    """

    rounds: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What is special to it.
        label: What the curves show, with its unit.
        curves: Name of an arm -> its runs, which differ in seed, from round 1: [seeds, rounds].
        bounds: Lowest and highest value that is possible; an interval ends there.
        published: Name of an arm -> the curve to compare it with.
        references: Names of arms that the others are compared with.
    """

    title: str
    label: str
    curves: Mapping[str, Floats]
    bounds: tuple[float, float]
    published: Mapping[str, Published] = field(default_factory=dict)
    references: Collection[str] = ()


def plot_panels(rows: Sequence[Sequence[Panel]], path: Path, title: str = "") -> None:
    """Draw rows of panels, each panel with one curve an arm.

    A curve is the mean over seeds; if there are several, a band is its 95 % interval. That of an
    arm of one round is a horizontal line. References are grey and dashed, and so are arms of one
    round where others have more. Published curves are dotted, in the colour of the arm that they
    belong to. The panels of a row share their vertical axis, which is logarithmic for positive
    values that span a wide range.

    Args:
        rows: The panels, a row a quantity; as many in every row. If that is one, the quantities
            stand side by side.
        path: Where to save; the suffix says the format. The same curves give the same file.
        title: Heading of the figure; none if empty.
    """
    styles = _styles([panel for row in rows for panel in row])
    columns = len(rows[0])
    shape = (len(rows), columns) if columns > 1 else (1, len(rows))
    with flowerbed_style():
        size = (3.4 * shape[1] + 0.6, 2.7 * shape[0] + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        share: Literal["row", "none"] = "row" if columns > 1 else "none"
        grid = figure.subplots(*shape, sharex="all", sharey=share, squeeze=False)
        for axes, panels in zip(grid.reshape(len(rows), columns), rows, strict=True):
            for axis, panel in zip(axes, panels, strict=True):
                _draw(axis, panel, styles)
            axes[0].set_ylabel(panels[0].label)
            if _spans_wide(panels):
                axes[0].set_yscale("log")
        for axis, panel in zip(grid.flat, rows[0], strict=False):
            axis.set_title(panel.title)
        for axis in grid[-1]:
            axis.set_xlabel("round")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        has_published = any(panel.published for row in rows for panel in row)
        handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
        if has_published:
            handles.append(Line2D([], [], label="published", **_published_style("0.3")))
        rows_below = legend_below(figure, handles)
        figure.set_figheight(size[1] + LEGEND_ROW * max(0, rows_below - _ROWS_WITHIN))
        set_heading(figure, title)
        save_figure(figure, path)


def _draw(axis: Axes, panel: Panel, styles: Mapping[str, Mapping[str, Any]]) -> None:
    for name, curves in panel.curves.items():
        style = styles[name]
        band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        rounds = np.arange(1, curves.shape[1] + 1)
        means = [estimate(curves[:, index]) for index in range(len(rounds))]
        values = [mean.value for mean in means]
        low = np.clip([mean.low for mean in means], *panel.bounds)
        high = np.clip([mean.high for mean in means], *panel.bounds)
        if len(rounds) == 1:
            axis.axhline(values[0], **style)
            if np.isfinite([low, high]).all():
                axis.axhspan(low[0], high[0], **band)
        else:
            axis.plot(rounds, values, **style)
            if len(curves) > 1:
                axis.fill_between(rounds, low, high, **band)
        if name in panel.published:
            axis.plot(*panel.published[name], **_published_style(style["color"]))


def _published_style(colour: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": ":", "linewidth": 0.9}


def _styles(panels: Sequence[Panel]) -> dict[str, dict[str, Any]]:
    """Return what the line of every arm looks like, in the order of the legend."""
    counts: dict[str, int] = {}
    for panel in panels:
        for name, curves in panel.curves.items():
            counts[name] = max(curves.shape[1], counts.get(name, 0))
    named = {name for panel in panels for name in panel.references}
    most = max(counts.values())
    references = [name for name, count in counts.items() if name in named or count == 1 < most]
    others = [name for name in counts if name not in references]
    return {name: line_style(position) for position, name in enumerate(others)} | {
        name: _reference_style(position) for position, name in enumerate(references)
    }


def _reference_style(position: int) -> dict[str, Any]:
    grey = 0.3 + 0.15 * (position % len(_REFERENCES))
    return {
        "color": str(grey),
        "linestyle": _REFERENCES[position % len(_REFERENCES)],
        "linewidth": 1.2,
    }


def _spans_wide(panels: Sequence[Panel]) -> bool:
    if any(panel.bounds[0] < 0 for panel in panels):
        return False  # The band of a positive mean may be negative, and would not be seen.
    means = np.concatenate(
        [curves.mean(axis=0) for panel in panels for curves in panel.curves.values()]
    )
    finite = means[np.isfinite(means)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > _WIDE * finite.min())
