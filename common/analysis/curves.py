"""Learning curves in panels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.analysis.runs import Run
from common.analysis.style import COLOURS, flowerbed_style

Arms = Mapping[str, Sequence[Run]]
# Arms that coincide stay visible: an earlier one is drawn wider, a later one over it.
_WIDTHS = (2.2, 1.3, 1.5)
_LINES = ("-", "--", "-")


def plot_panels(panels: Mapping[str, Arms], key: str, label: str, path: Path) -> None:
    """Draw one panel beside the other, each with one curve an arm.

    The curve is the mean over an arm's runs; if there are several, a band spans them all.

    Args:
        panels: Title of a panel -> name of an arm -> its runs, which differ in seed.
        key: Number of rounds.jsonl to draw.
        label: What it is, with its unit.
        path: Where to save; the suffix says the format.
    """
    names = list(dict.fromkeys(name for arms in panels.values() for name in arms))
    with flowerbed_style():
        figure = Figure(figsize=(3.4 * len(panels) + 0.6, 3.4), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, arms) in zip(axes, panels.items(), strict=True):
            for name, runs in arms.items():
                _draw(axis, name, names.index(name), runs, key)
            axis.set_title(title)
            axis.set_xlabel("round")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel(label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
        figure.savefig(path)


def _draw(axis: Axes, name: str, position: int, runs: Sequence[Run], key: str) -> None:
    length = min(len(run.rounds) for run in runs)
    curves = np.stack([run.curve(key)[:length] for run in runs])
    rounds = np.arange(1, length + 1)
    colour = COLOURS[position % len(COLOURS)]
    axis.plot(
        rounds,
        curves.mean(axis=0),
        _LINES[position % len(_LINES)],
        color=colour,
        linewidth=_WIDTHS[position % len(_WIDTHS)],
        label=name,
    )
    if len(runs) > 1:
        axis.fill_between(rounds, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2)
