"""Runs -> the arms of a comparison, in panels as the paper's figures have them."""

from collections.abc import Collection, Sequence

import numpy as np

from common.analysis.results import Results
from common.errors import UserInputError
from common.replication.compared_keys import ArmKeys, ComparedKeys, PanelKeys
from common.replication.definition import Replication
from common.replication.metrics import TEST_ACCURACY, Metric

# More panels beside each other than can be read, and than a picture can be wide.
MOST_PANELS = 20
# Title of a panel -> name of an arm -> its runs, which differ in seed.
Panels = dict[str, dict[str, Results]]


def compare(replication: Replication, results: Results) -> Panels:
    """Group runs into panels, and within a panel into arms.

    Args:
        replication: Has the keys that tell panels and arms.
        results: The runs.

    Returns:
        The runs of each arm by its name, by the title of its panel.

    Raises:
        UserInputError: Runs of an arm differ in more than the seed, two arms or panels have the
            same name, or there are too many panels.
    """
    panel_keys, arm_keys = replication.panel_keys, replication.arm_keys
    rows = _plain_rows(results, replication.compared_keys)
    found = {(panel_keys.model_validate(row), arm_keys.model_validate(row)) for row in rows}
    titles = panel_titles({panel for panel, _ in found})
    if len(titles) > MOST_PANELS:
        raise UserInputError(
            f"RUNS hold {len(titles)} settings of {', '.join(panel_keys.model_fields)}: there must "
            f"be at most {MOST_PANELS}, which have a panel each."
        )
    compared: Panels = {}
    _require_names(list(titles.values()), list(titles))
    for panel, title in titles.items():
        arms = sorted((a for p, a in found if p == panel), key=lambda arm: arm.order)
        _require_names([arm.name for arm in arms], arms)
        compared[title] = {
            arm.name: results.arm(panel.model_dump() | arm.model_dump()) for arm in arms
        }
    return compared


def panel_titles(panels: Collection[PanelKeys]) -> dict[PanelKeys, str]:
    """Return the title of each panel, in their order: what they differ in; of one, its name."""
    ordered = sorted(panels, key=lambda panel: panel.order)
    facts = [panel.facts for panel in ordered]
    differ = [len(set(column)) > 1 for column in zip(*facts, strict=True)]
    if not any(differ):
        return {panel: panel.name for panel in ordered}
    return {
        panel: ", ".join(fact for fact, shown in zip(row, differ, strict=True) if shown and fact)
        for panel, row in zip(ordered, facts, strict=True)
    }


def by_metric(panels: Panels, metrics: Sequence[Metric]) -> dict[Metric, Panels]:
    """Return, of every metric that there is something to show of, the arms that have it."""
    having = {metric: arms_with(panels, metric) for metric in metrics}
    return {metric: arms for metric, arms in having.items() if any(arms.values())}


def arm_keys_of(replication: Replication, runs: Results) -> ArmKeys:
    """Return what tells the runs of an arm from those of the panel's others."""
    (row, *_) = _plain_rows(runs, list(replication.arm_keys.model_fields))
    return replication.arm_keys.model_validate(row)


def arms_with(panels: Panels, metric: Metric) -> Panels:
    """Return those arms of every panel that have something to show of a metric.

    These are the arms that recorded it, in every run; all of them for test accuracy, none if the
    metric is shown only if it varies and does so in no run, and those of several rounds, where
    there are any, if the metric is one of rounds.
    """
    if metric == TEST_ACCURACY:
        return panels
    having = {
        title: {name: runs for name, runs in arms.items() if _is_recorded(runs, metric)}
        for title, arms in panels.items()
    }
    if metric.of_rounds:
        having = of_several_rounds(having)
    arms = [runs for panel in having.values() for runs in panel.values()]
    if metric.only_if_varied and not any(_varies(runs, metric) for runs in arms):
        return {title: {} for title in panels}
    return having


def of_several_rounds(panels: Panels) -> Panels:
    """Return the arms of more than one round; all of them if there are none such."""
    having = {
        title: {name: runs for name, runs in arms.items() if _num_rounds(runs) > 1}
        for title, arms in panels.items()
    }
    return having if any(having.values()) else panels


def _num_rounds(runs: Results) -> int:
    return int(runs.curves(TEST_ACCURACY.name).shape[1])


def _is_recorded(runs: Results, metric: Metric) -> bool:
    return metric.name in runs.metrics and bool(
        np.isfinite(runs.curves(metric.name)).any(axis=1).all()
    )


def _varies(runs: Results, metric: Metric) -> bool:
    curves = runs.curves(metric.name)
    return any(len(np.unique(curve[np.isfinite(curve)])) > 1 for curve in curves)


def _require_names(names: Sequence[str], settings: Sequence[ComparedKeys]) -> None:
    """Refuse settings of the same name, such as FedAvg with several mu, which it has no use for."""
    met: dict[str, ComparedKeys] = {}
    for name, setting in zip(names, settings, strict=True):
        other = met.setdefault(name, setting)
        differ = [key for key, value in setting if value != getattr(other, key)]
        if differ:
            raise UserInputError(
                f"RUNS hold {name!r} with several values of {', '.join(differ)}: there must be "
                "one, for a figure cannot tell them apart."
            )


def _plain_rows(results: Results, keys: Sequence[str]) -> list[dict[str, object]]:
    """Return the compared keys of every run, as Python's own types."""
    columns = [results.runs[key].tolist() for key in keys]
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
