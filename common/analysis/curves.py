"""Learning curves in a grid of panels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from common.analysis.direct_labels import CurveEnd, named_once, write_labels
from common.analysis.statistics import estimate
from common.analysis.style import (
    COLOURS,
    GREYS,
    flowerbed_style,
    label_values,
    line_style,
    save_figure,
    set_heading,
)

Floats = NDArray[np.float64]

# What other arms are compared with has no colour.
_REFERENCES: Final = ((0, (6, 2)), (0, (6, 2, 1, 2)), (0, (3, 2)), (0, (6, 2, 1, 2, 1, 2)))
_PUBLISHED: Final = "dotted: published"
# A quantity whose values span more than this many times the smallest is drawn in logarithms.
_WIDE: Final = 30


class Published(NamedTuple):
    """A curve that somebody else published.

    Attributes:
        rounds: Where it has values, shape [values].
        values: At those rounds, shape [values].
    """

    rounds: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What is special to it.
        label: What the curves show; with its unit, unless that is a share.
        curves: Name of an arm -> its runs, which differ in seed, from round 1: shape
            [seeds, rounds].
        bounds: Lowest and highest value that is possible; an interval ends there.
        published: Name of an arm, one of the curves' -> the curve to compare it with.
        references: Names of arms that the others are compared with.
        is_share: Whether the curves show a fraction, which the axis has in percent.
    """

    title: str
    label: str
    curves: Mapping[str, Floats]
    bounds: tuple[float, float]
    published: Mapping[str, Published] = field(default_factory=dict)
    references: Collection[str] = ()
    is_share: bool = False


def plot_panels(rows: Sequence[Sequence[Panel]], path: Path, title: str = "") -> None:
    """Draw rows of panels, each panel with one curve an arm.

    A curve is the mean over seeds; if there are several, a band is its 95 % interval. That of an
    arm of one round is a horizontal line. References are grey and dashed, and so are arms of one
    round where others have more. Published curves are dotted, in the colour of the arm that they
    belong to, which a note below the names of arms tells. Right of each row stand the names of its
    arms, or between its panels, of those that the panels farther right do not have. The panels of
    a row share their vertical axis, which is logarithmic for positive values that span a wide
    range.

    Args:
        rows: The panels, a row a quantity; as many in every row. If that is one, the quantities
            stand side by side, unless arms share colours: then they are hard to find again beside
            the next quantity, and each has its labels.
        path: Where to save; the suffix says the format. The same curves give the same file.
        title: Heading of the figure; none if empty.
    """
    styles = _styles([panel for row in rows for panel in row])
    columns = len(rows[0])
    side_by_side = columns == 1 and len(styles) <= len(COLOURS)
    shape = (1, len(rows)) if side_by_side else (len(rows), columns)
    with flowerbed_style():
        size = (3.4 * shape[1] + 0.6, 2.7 * shape[0] + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        share: Literal["row", "none"] = "row" if columns > 1 else "none"
        grid = figure.subplots(*shape, sharex="all", sharey=share, squeeze=False)
        ends = {}
        notes = {}
        for axes, panels in zip(grid.reshape(len(rows), columns), rows, strict=True):
            for axis, panel in zip(axes, panels, strict=True):
                ends[axis] = _draw(axis, panel, styles)
            if _spans_wide(panels):
                axes[0].set_yscale("log")
            label_values(axes[0], panels[0].label, is_share=panels[0].is_share)
            notes.update(_note_published(list(axes), panels))
        for axis, panel in zip(grid.flat, rows[0], strict=False):
            axis.set_title(panel.title)
        for axis in grid[-1]:
            axis.set_xlabel("round")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        set_heading(figure, title)
        write_labels(figure, {axis: of for axes in grid for axis, of in _once(axes, ends)}, notes)
        save_figure(figure, path)


def _once(
    axes: Sequence[Axes], ends: Mapping[Axes, Sequence[CurveEnd]]
) -> list[tuple[Axes, list[CurveEnd]]]:
    """Return the ends to label of every panel of a row: each name once."""
    named = named_once([[end.name for end in ends[axis]] for axis in axes])
    return [
        (axis, [end for end in ends[axis] if end.name in names])
        for axis, names in zip(axes, named, strict=True)
    ]


def _note_published(axes: Sequence[Axes], panels: Sequence[Panel]) -> dict[Axes, str]:
    """Return what to write beside a row: once, as far right as there are published curves."""
    having = [axis for axis, panel in zip(axes, panels, strict=True) if panel.published]
    return dict.fromkeys(having[-1:], _PUBLISHED)


def _draw(axis: Axes, panel: Panel, styles: Mapping[str, Mapping[str, Any]]) -> list[CurveEnd]:
    """Draw the curves of a panel, and return where those end that have a value."""
    ends = []
    longest = max((curves.shape[1] for curves in panel.curves.values()), default=0)
    for name, curves in panel.curves.items():
        style = styles[name]
        band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        rounds = np.arange(1, curves.shape[1] + 1)
        means = [estimate(curves[:, index]) for index in range(len(rounds))]
        values = np.array([mean.value for mean in means])
        low = np.clip([mean.low for mean in means], *panel.bounds)
        high = np.clip([mean.high for mean in means], *panel.bounds)
        if len(rounds) == 1:
            axis.axhline(values[0], label=name, **style)
            if np.isfinite([low, high]).all():
                axis.axhspan(low[0], high[0], **band)
        else:
            axis.plot(rounds, values, label=name, **style)
            if len(curves) > 1:
                axis.fill_between(rounds, low, high, **band)
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            last = finite[-1]
            # From a curve shorter than others, a line to its label would look like more of it.
            x = float(rounds[last]) if rounds[last] == longest > 1 else None
            ends.append(CurveEnd(name, x, float(values[last]), style))
        if name in panel.published:
            axis.plot(*panel.published[name], color=style["color"], linestyle=":", linewidth=0.9)
    return ends


def _styles(panels: Sequence[Panel]) -> dict[str, dict[str, Any]]:
    """Return what the line of every arm looks like: references last."""
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
    return {
        "color": GREYS[position % len(GREYS)],
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
