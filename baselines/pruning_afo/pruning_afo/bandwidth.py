"""What accuracy costs in bytes and in time on links, from stored results: parts of the pages."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.analysis.results import Results
from common.analysis.statistics import Curve, Estimate, best, estimate
from common.analysis.tables import markdown_table
from common.replication.comparison import Panels, compare
from common.replication.definition import Replication
from common.replication.metrics import TEST_ACCURACY
from pruning_afo.links import LINKS

Floats = NDArray[np.float64]
# The runs of an arm -> what each round costs by itself: [seeds, rounds].
Cost = Callable[[Results], Floats]

_BOUND: Final = "bound_up"  # See common.strategy.compressed.
_NOT_RUN: Final = "Not run yet: there are no stored results."
_NONE: Final = "No arm has several clients: nothing is sent."


def megabytes_up(runs: Results) -> Floats:
    """Return what all clients sent in every round, in MB: shape [seeds, rounds]."""
    return runs.curves("bytes_up") / 1e6


def megabytes(runs: Results) -> Floats:
    """Return what all clients sent and were sent in every round, in MB: shape [seeds, rounds]."""
    return (runs.curves("bytes_up") + runs.curves("bytes_down")) / 1e6


def first_round_at(accuracy: Curve, target: float) -> float:
    """Return the first round that reaches a target accuracy, or inf if none does.

    Args:
        accuracy: Shape [rounds], from round 1; NaN is a round without a value.
        target: Accuracy to reach.
    """
    reached = np.flatnonzero(accuracy >= target)
    return float(reached[0] + 1) if len(reached) else math.inf


def cost_to_target(accuracy: Curve, cost: Curve, target: float) -> float:
    """Return the cost of the rounds up to the first that reaches a target; inf if none does.

    Args:
        accuracy: Shape [rounds], from round 1; NaN is a round without a value.
        cost: Of every round by itself, shape [rounds].
        target: Accuracy to reach.
    """
    rounds = first_round_at(accuracy, target)
    return float(cost[: int(rounds)].sum()) if math.isfinite(rounds) else math.inf


def best_within(accuracy: Curve, cost: Curve, budget: float) -> float:
    """Return the best accuracy of the rounds that a budget is enough for; NaN if there is none.

    Args:
        accuracy: Shape [rounds], from round 1; NaN is a round without a value.
        cost: Of every round by itself, shape [rounds].
        budget: What the rounds up to a round may cost together.
    """
    afforded = accuracy[np.cumsum(cost) <= budget]
    return best(afforded) if len(afforded) else math.nan


def bandwidth_parts(replication: Replication, stored: Mapping[str, Results]) -> dict[str, str]:
    """Return, for every experiment NAME, the part "bandwidth_NAME" of the pages.

    Args:
        replication: Says what arms are called, and which accuracy is the target of an experiment.
        stored: Results by experiment.

    Returns:
        Markdown, by part.
    """
    return {
        f"bandwidth_{name}": _tables(federated(compare(replication, stored[name])), figure.target)
        if name in stored
        else _NOT_RUN
        for name, figure in replication.figures.items()
    }


def federated(panels: Panels) -> Panels:
    """Return the arms of several clients: where all data are in one place, nothing is to be sent.

    Panels without such an arm are left out.
    """
    having = {
        title: {name: runs for name, runs in arms.items() if (runs.runs["num_clients"] > 1).all()}
        for title, arms in panels.items()
    }
    return {title: arms for title, arms in having.items() if arms}


def _tables(panels: Panels, target: float | None) -> str:
    if not panels:
        return _NONE
    seeds = max(len(runs.seeds) for arms in panels.values() for runs in arms.values())
    mean = f", mean of {seeds} seeds, ± the 95 % interval" if seeds > 1 else ""
    made: list[str] = []
    compressed = {title: _compressed(arms) for title, arms in panels.items()}
    if any(compressed.values()):
        made.append(
            f"What all clients sent in all rounds{mean}, beside the bound of their updates: the "
            "bytes that say which entries are sent, if all choices are equally likely, and their "
            "values. The statistics of BatchNorm, which travel beside the updates, have no bound:"
        )
        made += [_beside_bound(title, arms) for title, arms in compressed.items()]
    if target is not None:
        made.append(
            f"To {100 * target:g} % test accuracy: the first round that reaches it, what all "
            "clients together had sent and been sent by then, and how long that took on each "
            f"link, training aside{mean}:"
        )
        made += [_to_target(title, arms, target) for title, arms in panels.items()]
    for what, cost in (("sent", megabytes_up), ("sent and been sent", megabytes)):
        made.append(
            "Best test accuracy (%) of the rounds in which all clients together had "
            f"{what} at most so much{mean}:"
        )
        budgets = _budgets(panels, cost)
        made += [_within(title, arms, cost, budgets) for title, arms in panels.items()]
    return "\n\n".join(made)


def _compressed(arms: Mapping[str, Results]) -> dict[str, Results]:
    """Return the arms whose clients send encoded updates."""
    return {
        name: runs
        for name, runs in arms.items()
        if _BOUND in runs.metrics and np.isfinite(runs.curves(_BOUND)).any(axis=1).all()
    }


def _beside_bound(title: str, arms: Mapping[str, Results]) -> str:
    """Return what each arm sent, and what it had to, as a table."""
    rows = []
    for name, runs in arms.items():
        sent = np.nansum(megabytes_up(runs), axis=1)
        bound = np.nansum(runs.curves(_BOUND), axis=1) / 1e6
        numbers = (_with_interval(estimate(of_seeds)) for of_seeds in (sent, bound))
        rows.append([name, *numbers, f"{sent.mean() / bound.mean():.2f}"])
    return markdown_table([title, "MB up", "bound (MB)", "times the bound"], rows)


def _to_target(title: str, arms: Mapping[str, Results], target: float) -> str:
    """Return what each arm takes to reach a target, as a table."""

    def cell(runs: Results, cost: Floats) -> str:
        curves = zip(runs.curves(TEST_ACCURACY.name), cost, strict=True)
        found = np.array([cost_to_target(accuracy, spent, target) for accuracy, spent in curves])
        return _with_interval(estimate(found)) if np.isfinite(found).all() else ""

    rows = []
    for name, runs in arms.items():
        reached = [(curve >= target).any() for curve in runs.curves(TEST_ACCURACY.name)]
        if not all(reached):
            some = f"{sum(reached)} of {len(reached)} seeds" if any(reached) else "not reached"
            rows.append([name, some, *[""] * (len(LINKS) + 2)])
            continue
        moved = [megabytes_up(runs), megabytes(runs)]
        costs = [np.ones_like(moved[0]), *moved, *(runs.curves(link.metric) for link in LINKS)]
        rows.append([name, *(cell(runs, cost) for cost in costs)])
    links = [f"seconds, {link.name}" for link in LINKS]
    return markdown_table([title, "round", "MB up", "MB up and down", *links], rows)


def _within(title: str, arms: Mapping[str, Results], cost: Cost, budgets: Sequence[float]) -> str:
    """Return what each arm reaches within budgets, as a table."""

    def cell(runs: Results, budget: float) -> str:
        curves = zip(runs.curves(TEST_ACCURACY.name), cost(runs), strict=True)
        found = np.array([best_within(accuracy, spent, budget) for accuracy, spent in curves])
        return "" if np.isnan(found).any() else _with_interval(estimate(100 * found), ".1f")

    rows = [[name, *(cell(runs, budget) for budget in budgets)] for name, runs in arms.items()]
    return markdown_table([title, *(f"{budget:,g} MB" for budget in budgets)], rows)


def _budgets(panels: Panels, cost: Cost) -> list[float]:
    """Return powers of ten: from where an arm has its first round to where all have their last."""
    spent = [np.nancumsum(cost(runs), axis=1) for arms in panels.values() for runs in arms.values()]
    # In its first rounds an arm may have had no reply.
    first = min(float(each[each > 0].min(initial=math.inf)) for each in spent)
    last = max(float(each.max()) for each in spent)
    if math.isinf(first):
        return []
    return [10.0**power for power in range(_power_of_ten(first), _power_of_ten(last) + 1)]


def _power_of_ten(number: float) -> int:
    """Return the least power of ten that is not below a positive number."""
    return math.ceil(math.log10(number))


def _with_interval(mean: Estimate, digits: str | None = None) -> str:
    """Write a mean, with half of its interval if it has one; by default, of three digits or so."""
    if digits is None:
        digits = ",.0f" if mean.value >= 100 else ".1f" if mean.value >= 10 else ".2f"
    number = f"{mean.value:{digits}}"
    return number if np.isnan(mean.low) else f"{number} ± {(mean.high - mean.low) / 2:{digits}}"
