"""The tables of a comparison: what every arm reached, and paired differences to the first."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.analysis.results import Results
from common.analysis.runs import TAIL
from common.analysis.statistics import (
    Estimate,
    estimate,
    paired_difference,
    rounds_to_target,
    tail_mean,
)
from common.analysis.tables import latex_table, markdown_table
from fedprox.comparison import Panels
from fedprox.figures import FIGURES
from fedprox.metrics import METRICS, shown_metrics

Header = Sequence[str]
Rows = Sequence[Sequence[str]]


class Tables(NamedTuple):
    """The tables of a comparison, below each other.

    Attributes:
        markdown: For a page or a terminal.
        latex: For a paper.
    """

    markdown: str
    latex: str


def tables(panels: Panels, experiment: str) -> Tables:
    """Return means of the last rounds with intervals, and paired differences of accuracies.

    Args:
        panels: What to compare.
        experiment: One with a target has the rounds to it, too.
    """
    made = [(_caption(panels), _accuracies(panels))]
    if any(len(arms) > 1 for arms in panels.values()):
        made.append((_caption_of_differences(panels), _differences(panels)))
    for metric in shown_metrics(panels):
        if metric != "test_accuracy":
            made.append((_caption(panels), _values(panels, metric)))
    target = FIGURES[experiment].target if experiment in FIGURES else None
    if target is not None:
        made.append((f"Rounds to {100 * target:g} % test accuracy:", _rounds_to(panels, target)))
    return Tables(
        "\n\n".join(f"{caption}\n\n{markdown_table(*table)}" for caption, table in made),
        "\n\n".join(f"% {caption}\n{latex_table(*table)}" for caption, table in made),
    )


def _accuracies(panels: Panels) -> tuple[Header, Rows]:
    def cell(_: str, runs: Results) -> str:
        return _percent(estimate(_tail_means(runs)))

    return ["test accuracy (%)", *panels], _by_arm(panels, cell)


def _differences(panels: Panels) -> tuple[Header, Rows]:
    first = _arms(panels)[0]

    def cell(title: str, runs: Results) -> str:
        reference = panels[title].get(first)
        if reference is None:
            return ""
        if reference is runs:
            return "0"
        if reference.seeds != runs.seeds:
            return "other seeds"
        return _percent(paired_difference(_tail_means(runs), _tail_means(reference)), sign="+")

    return ["points", *panels], _by_arm(panels, cell)


def _values(panels: Panels, metric: str) -> tuple[Header, Rows]:
    label, _, (of_mean, of_half) = METRICS[metric]

    def cell(_: str, runs: Results) -> str:
        mean = estimate(_tail_means(runs, metric))
        number, half = format(mean.value, of_mean), (mean.high - mean.low) / 2
        return number if np.isnan(half) else f"{number} ± {half:{of_half}}"

    return [label, *panels], _by_arm(panels, cell)


def _rounds_to(panels: Panels, target: float) -> tuple[Header, Rows]:
    def cell(_: str, runs: Results) -> str:
        rounds = [rounds_to_target(curve, target) for curve in runs.curves("test_accuracy")]
        return ", ".join(f"{r:.1f}" if np.isfinite(r) else "not reached" for r in rounds)

    return ["rounds, a number a seed", *panels], _by_arm(panels, cell)


def _by_arm(panels: Panels, cell: Callable[[str, Results], str]) -> Rows:
    return [
        [arm, *(cell(title, arms[arm]) if arm in arms else "" for title, arms in panels.items())]
        for arm in _arms(panels)
    ]


def _arms(panels: Panels) -> list[str]:
    return list(dict.fromkeys(arm for arms in panels.values() for arm in arms))


def _tail_means(runs: Results, metric: str = "test_accuracy") -> NDArray[np.float64]:
    return np.array([tail_mean(curve) for curve in runs.curves(metric)])


def _percent(mean: Estimate, sign: str = "") -> str:
    number = f"{100 * mean.value:{sign}.1f}"
    return number if np.isnan(mean.low) else f"{number} ± {50 * (mean.high - mean.low):.1f}"


def _seeds(panels: Panels) -> list[int]:
    return sorted({seed for arms in panels.values() for arm in arms.values() for seed in arm.seeds})


def _caption_of_differences(panels: Panels) -> str:
    caption = "Difference to the arm of the first row, in percentage points"
    interval = ", seed by seed, with its 95 % interval" if len(_seeds(panels)) > 1 else ""
    return f"{caption}{interval}:"


def _caption(panels: Panels) -> str:
    """Say what the figures of the table are means of."""
    runs = [runs for arms in panels.values() for runs in arms.values()]
    rounds = min(TAIL, *(arm.curves("test_accuracy").shape[1] for arm in runs))
    seeds = _seeds(panels)
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, ± the 95 % interval"
    last = "last round" if rounds == 1 else f"last {rounds} rounds"
    return f"Mean over the {last} of {of_seeds}:"
