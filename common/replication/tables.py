"""The tables of a comparison: what every arm reached, and paired differences to one of them."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.analysis.results import Results
from common.analysis.runs import TAIL
from common.analysis.statistics import (
    Curve,
    Estimate,
    best,
    estimate,
    last,
    paired_difference,
    rounds_to_target,
    tail_mean,
)
from common.analysis.tables import latex_table, markdown_table
from common.replication.comparison import Panels, arms_with, by_metric, of_several_rounds
from common.replication.definition import FigureOf, Replication, Statistic
from common.replication.metrics import TEST_ACCURACY, Metric


class Table(NamedTuple):
    """A table of a comparison.

    Attributes:
        name: What it is of, in a few words.
        caption: A line that ends with a colon.
        header: One cell a column.
        rows: A row an arm, whose name is its first cell.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Tables(NamedTuple):
    """The tables of a comparison, in the order in which they are shown.

    Attributes:
        main: What every reader wants: mean accuracy, and differences where there are several arms.
        more: What a page folds.
    """

    main: Sequence[Table]
    more: Sequence[Table]

    @property
    def markdown(self) -> str:
        """All of them for a terminal, or a page that folds nothing."""
        return _markdown((*self.main, *self.more))

    @property
    def folded_markdown(self) -> str:
        """All of them for a page, as Markdown with an HTML element that folds all but the main."""
        parts = [_markdown(self.main)]
        if self.more:
            # Without blank lines around it, Markdown would be HTML's text.
            summary = f"<details>\n<summary>{escape(self.more_names, quote=False)}</summary>"
            parts += [summary, _markdown(self.more), "</details>"]
        return "\n\n".join(parts)

    @property
    def more_names(self) -> str:
        """What unfolds the further tables."""
        title = "More tables" if len(self.more) > 1 else "Another table"
        return f"{title}: {', '.join(table.name for table in self.more)}"

    @property
    def latex(self) -> str:
        """All of them for a paper."""
        return "\n\n".join(
            f"% {table.caption}\n{latex_table(table.header, table.rows)}"
            for table in (*self.main, *self.more)
        )


def _markdown(shown: Sequence[Table]) -> str:
    return "\n\n".join(
        f"{table.caption}\n\n{markdown_table(table.header, table.rows)}" for table in shown
    )


class _Reduction(NamedTuple):
    """A number of a learning curve, and what it is called."""

    name: str
    metric: Metric
    of_curve: Callable[[Curve], float]


def _megabytes(curve: Curve) -> float:
    return float(np.nansum(curve)) / 1e6  # Rounds that a run did not come to moved nothing.


_BYTES_UP: Final = Metric("bytes_up", "MB up", (0, math.inf), (",.1f", ",.1f"))
_BYTES_DOWN: Final = Metric("bytes_down", "MB down", (0, math.inf), (",.1f", ",.1f"))
_REDUCTIONS: Final[dict[Statistic, _Reduction]] = {
    "best": _Reduction("best round", TEST_ACCURACY, best),
    "last": _Reduction("last round", TEST_ACCURACY, last),
    "tail_mean": _Reduction(f"mean of the last {TAIL} rounds", TEST_ACCURACY, tail_mean),
    "bytes_up": _Reduction("sent by all clients in all rounds", _BYTES_UP, _megabytes),
    "bytes_down": _Reduction("sent to all clients in all rounds", _BYTES_DOWN, _megabytes),
}


def tables(replication: Replication, panels: Panels, experiment: str) -> Tables:
    """Return means of the last rounds with intervals, and paired differences of accuracies.

    Args:
        replication: Has the metrics and the figures.
        panels: What to compare.
        experiment: Its figure may ask for more, see
            :class:`common.replication.definition.FigureOf`.
    """
    figure = replication.figures.get(experiment, FigureOf("", ""))
    main = [_tail_means(panels, TEST_ACCURACY, figure.tail)]
    if any(len(arms) > 1 for arms in panels.values()):
        main.append(_differences(panels, figure))
    others = [metric for metric in replication.metrics if metric != TEST_ACCURACY]
    more = [
        _tail_means(arms, metric, figure.tail) for metric, arms in by_metric(panels, others).items()
    ]
    more += [_reduced(panels, _REDUCTIONS[statistic]) for statistic in figure.statistics]
    if figure.target is not None:
        more.append(_rounds_to(panels, figure.target))
    return Tables(main, more)


def _tail_means(panels: Panels, metric: Metric, tail: int) -> Table:
    seeds = _seeds(panels)
    rounds = _last_rounds(panels, tail)
    of_seeds = f"{_name_seeds(panels)}{_interval(seeds)}"
    caption = f"Mean over the {rounds} of {of_seeds}{_lengths(panels)}:"
    of_curve = partial(tail_mean, tail=tail)
    return _means_over_seeds(panels, metric.label, caption, metric, of_curve)


def _reduced(panels: Panels, reduction: _Reduction) -> Table:
    seeds = _seeds(panels)
    mean = "mean of " if len(seeds) > 1 else ""
    caption = f"{_capital(reduction.name)}, {mean}{_name_seeds(panels)}{_interval(seeds)}:"
    having = arms_with(panels, reduction.metric)
    return _means_over_seeds(having, reduction.name, caption, reduction.metric, reduction.of_curve)


def _means_over_seeds(
    panels: Panels,
    name: str,
    caption: str,
    metric: Metric,
    of_curve: Callable[[Curve], float],
) -> Table:
    def cell(_: str, runs: Results) -> str:
        return _in_digits(estimate(_by_seed(runs, metric, of_curve)), metric)

    label = f"{metric.label} (%)" if metric.is_share else metric.label
    return Table(name, caption, [label, *panels], _by_arm(panels, cell))


def _differences(panels: Panels, figure: FigureOf) -> Table:
    arms = _arms(panels)
    named = figure.reference
    reference = named if named in arms else arms[0]
    of_curve = partial(tail_mean, tail=figure.tail)

    def cell(title: str, runs: Results) -> str:
        other = panels[title].get(reference)
        if other is None:
            return ""
        if other is runs:
            return "0"
        if other.seeds != runs.seeds:
            return "other seeds"
        means = [_by_seed(arm, TEST_ACCURACY, of_curve) for arm in (runs, other)]
        return _in_digits(paired_difference(*means), TEST_ACCURACY, sign="+")

    whose = reference if reference == named else "the arm of the first row"
    interval = ", seed by seed, with its 95 % interval" if len(_seeds(panels)) > 1 else ""
    caption = f"Difference to {whose}, in percentage points{interval}:"
    return Table("differences", caption, ["points", *panels], _by_arm(panels, cell))


def _rounds_to(panels: Panels, target: float) -> Table:
    def cell(_: str, runs: Results) -> str:
        rounds = [rounds_to_target(curve, target) for curve in runs.curves(TEST_ACCURACY.name)]
        return ", ".join(f"{r:.1f}" if np.isfinite(r) else "not reached" for r in rounds)

    name = f"rounds to {100 * target:g} % test accuracy"
    header = ["rounds, a number a seed", *panels]
    return Table(name, f"{_capital(name)}:", header, _by_arm(of_several_rounds(panels), cell))


def _by_arm(panels: Panels, cell: Callable[[str, Results], str]) -> list[list[str]]:
    return [
        [arm, *(cell(title, arms[arm]) if arm in arms else "" for title, arms in panels.items())]
        for arm in _arms(panels)
    ]


def _arms(panels: Panels) -> list[str]:
    return list(dict.fromkeys(arm for arms in panels.values() for arm in arms))


def _by_seed(
    runs: Results, metric: Metric, of_curve: Callable[[Curve], float]
) -> NDArray[np.float64]:
    return np.array([of_curve(curve) for curve in runs.curves(metric.name)])


def _in_digits(mean: Estimate, metric: Metric, sign: str = "") -> str:
    scale = 100 if metric.is_share else 1
    of_mean, of_half = metric.digits
    number, half = f"{scale * mean.value:{sign}{of_mean}}", scale * (mean.high - mean.low) / 2
    return number if np.isnan(half) else f"{number} ± {half:{of_half}}"


def _seeds(panels: Panels) -> list[int]:
    return sorted({seed for arms in panels.values() for arm in arms.values() for seed in arm.seeds})


def _name_seeds(panels: Panels) -> str:
    of_arms = [arm.seeds for arms in panels.values() for arm in arms.values()]
    fewest, most = (extreme(map(len, of_arms)) for extreme in (min, max))
    if fewest < most:
        return f"{fewest} to {most} seeds an arm"
    seeds = _seeds(panels)
    if most < len(seeds):
        return f"{most} seed{'s' * (most > 1)} an arm"
    return f"seed {seeds[0]}" if most == 1 else f"{most} seeds"


def _interval(seeds: Sequence[int]) -> str:
    return ", ± the 95 % interval" if len(seeds) > 1 else ""


def _capital(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _last_rounds(panels: Panels, tail: int) -> str:
    """Say what the mean of an arm is over, where one may have fewer rounds than others."""
    arms = [runs for arms in panels.values() for runs in arms.values()]
    counts = {min(tail, runs.curves(TEST_ACCURACY.name).shape[1]) for runs in arms}
    most = max(counts)
    last_rounds = f"last {most} rounds" if most > 1 else "last round"
    return last_rounds if len(counts) == 1 else f"{last_rounds}, or all of fewer,"


def _lengths(panels: Panels) -> str:
    """Say how many rounds arms have, where some have more than others that have rounds at all."""
    arms = [runs for arms in panels.values() for runs in arms.values()]
    lengths = sorted({runs.curves(TEST_ACCURACY.name).shape[1] for runs in arms} - {1})
    return f"; arms have {lengths[0]} to {lengths[-1]} rounds" if len(lengths) > 1 else ""
