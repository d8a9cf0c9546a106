"""The table of an experiment in the paper: what every arm reached, and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.analysis.quantities import Arm, Contrast, Contrasts
from common.analysis.results import Results
from common.analysis.statistics import Estimate, estimate
from common.replication.comparison import Panels, arms_with
from common.replication.metrics import TEST_ACCURACY, Metric
from distilbert_failures.figures import FIGURES
from distilbert_failures.metrics import METRICS
from distilbert_failures.paper_latex import floating, prose, tabular
from distilbert_failures.replication import REPLICATION

_METRICS: Final = {metric.name: metric for metric in METRICS}
DIVERGENCE: Final = _METRICS["divergence"]
DIVERGENCE_TO_UPDATE: Final = _METRICS["divergence_to_update"]
_BYTES_UP: Final = Metric("bytes_up", "MB up a round", (0, math.inf), (",.1f", ",.1f"))
_ACCURACY: Final = "accuracy (%)"


@dataclass(frozen=True)
class _Row:
    """An arm.

    Attributes:
        condition: Title of its panel.
        method: Its name.
        runs: Its runs.
    """

    condition: str
    method: str
    runs: Results

    @property
    def rounds(self) -> int:
        """How many rounds its runs have."""
        return int(self.runs.curves(TEST_ACCURACY.name).shape[1])


def comparison_table(experiment: str, results: Results, panels: Panels) -> str:
    """Return the table of an experiment.

    Args:
        experiment: One of the figures' names.
        results: Its stored runs.
        panels: Its arms.

    Raises:
        UserInputError: Arms that are compared have no seed in common.
    """
    figure = FIGURES[experiment]
    rows = [_Row(condition, *arm) for condition, arms in panels.items() for arm in arms.items()]
    cells = _Cells(experiment, results, panels, min(figure.tail, *(row.rounds for row in rows)))
    first = rows[0]
    methods = [row.method for row in rows]
    reference = figure.reference if figure.reference in methods else first.method
    columns = {
        "condition": [row.condition for row in rows],
        "method": methods,
        "rounds": [str(row.rounds) for row in rows],
        _ACCURACY: [cells.mean(row, TEST_ACCURACY) for row in rows],
        f"to {reference}": [cells.gain(row, row.condition, reference) for row in rows],
        "to first": [cells.gain(row, first.condition, row.method) for row in rows],
        "divergence": [cells.mean(row, DIVERGENCE) for row in rows],
        "/ mean update": [cells.mean(row, DIVERGENCE_TO_UPDATE) for row in rows],
        _BYTES_UP.label: [cells.mean(row, _BYTES_UP) for row in rows],
    }
    # What is the same of all arms takes no room.
    shown = {
        name: column
        for name, column in columns.items()
        if name in ("condition", "method", _ACCURACY) or len({*column}) > 1
    }
    body = tabular("ll" + "r" * (len(shown) - 2), [*shown], [*zip(*shown.values(), strict=True)])
    note = prose(_what_is_shown(rows, cells.tail))
    body = f"\\footnotesize\n{body}\n\\par\\smallskip\n{note}"
    return floating("table*", body, figure.title, f"tab:{experiment}")


def _what_is_shown(rows: Sequence[_Row], tail: int) -> str:
    counts = {row.rounds for row in rows}
    of_how_many = f" of {max(counts)}" if len(counts) == 1 else ""
    seeds = max(len(row.runs.seeds) for row in rows)
    last = f"the mean of the last {tail} rounds" if tail > 1 else "the last round"
    differences = "differences of accuracy, also to the first condition, are in points"
    if seeds == 1:
        return f"One seed, {last}{of_how_many}; {differences}."
    return (
        f"Means of {seeds} seeds, {last}{of_how_many}, \u00b1 the 95 % interval; {differences}, "
        "paired by seed."
    )


@dataclass(frozen=True)
class _Cells:
    """Computes the cells of an experiment's table.

    Attributes:
        experiment: Its name.
        results: Its runs.
        panels: Its arms.
        tail: Cells are the mean of so many last rounds.
    """

    experiment: str
    results: Results
    panels: Panels
    tail: int

    def mean(self, row: _Row, metric: Metric) -> str:
        """Return what an arm reached; nothing if it did not record that."""
        if row.method not in arms_with(self.panels, metric)[row.condition]:
            return ""
        return _in_digits(self._estimate(row, metric), metric)

    def gain(self, row: _Row, condition: str, method: str) -> str:
        """Return by how many points an arm is more accurate than another, if there is another."""
        other = self.panels[condition].get(method)
        if other is None or other is row.runs:
            return ""
        return _in_digits(self._estimate(row, TEST_ACCURACY, minus=other), TEST_ACCURACY, "+")

    def _estimate(self, row: _Row, metric: Metric, minus: Results | None = None) -> Estimate:
        contrast = Contrast(
            experiment=self.experiment,
            arm=_keys(row.runs),
            minus=None if minus is None else _keys(minus),
        )
        quantity = Contrasts(
            statistic="tail_mean",
            metric=metric.name,
            tail=self.tail,
            contrasts=[contrast],
        )
        return estimate(quantity.by_seed({self.experiment: self.results}))


def _keys(arm: Results) -> Arm:
    """Return what tells an arm's runs from the experiment's others."""
    return {key: arm.runs[key].tolist()[0] for key in REPLICATION.compared_keys}


def _in_digits(mean: Estimate, metric: Metric, sign: str = "") -> str:
    if not math.isfinite(mean.value):
        return "\u2014"
    scale = 1e-6 if metric is _BYTES_UP else 100 if metric.is_share else 1
    of_mean, of_half = metric.digits
    number, half = f"{scale * mean.value:{sign}{of_mean}}", scale * (mean.high - mean.low) / 2
    # One seed has no interval, and what all seeds share needs none.
    return number if math.isnan(half) or half == 0 else f"{number} \u00b1 {half:{of_half}}"
