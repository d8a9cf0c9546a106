"""From the raw runs to what the page shows: rows of the tables, and the targets."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Results = dict[str, Any]
# Relative difference of weights up to which two ways did the same work: float32 sums in another
# order differ by about 1e-7 a step.
EQUAL_WORK: Final = 1e-4


@dataclass(frozen=True)
class Row:
    """One system on one work.

    Attributes:
        system: Its name.
        title: Its title.
        is_ours: Whether it is Flowerbed.
        clients_per_second: Median, lowest and highest of the repeats.
        seconds_per_round: The same.
        first_round_seconds: Median seconds of the first round, which holds start-up.
        accuracy: On the test set after one pass; None where nothing is trained.
        relative_difference: Largest difference of its weights to the reference's.
        foreign_load: Largest share of all cores that others used.
        is_quiet: Whether that was little enough in every repeat.
    """

    system: str
    title: str
    is_ours: bool
    clients_per_second: tuple[float, float, float]
    seconds_per_round: tuple[float, float, float]
    first_round_seconds: float
    accuracy: float | None
    relative_difference: float
    foreign_load: float
    is_quiet: bool


def rows(results: Results, work: str) -> list[Row]:
    """Return the rows of a work, in the order in which the systems ran."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in results["runs"]:
        if run["work"] == work:
            runs.setdefault(run["system"], []).append(run)
    return [_row(system, its) for system, its in runs.items()]


def _row(system: str, runs: list[dict[str, Any]]) -> Row:
    return Row(
        system=system,
        title=runs[0]["title"],
        is_ours=runs[0]["is_ours"],
        clients_per_second=_spread([run["clients_per_second"] for run in runs]),
        seconds_per_round=_spread([run["seconds_per_round"] for run in runs]),
        first_round_seconds=statistics.median(run["first_round_seconds"] for run in runs),
        accuracy=runs[0]["accuracy"],
        relative_difference=max(run["relative_difference"] for run in runs),
        foreign_load=max(run["foreign_load"] for run in runs),
        is_quiet=all(run["is_quiet"] for run in runs),
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


@dataclass(frozen=True)
class Target:
    """A target beside what was measured.

    Attributes:
        title: What is compared.
        wanted: The target, in words.
        measured: What was measured, in words.
        is_met: Whether it is met.
    """

    title: str
    wanted: str
    measured: str
    is_met: bool


class _NotMeasuredError(Exception):
    """The results do not have what a target needs."""


def targets(results: Results) -> list[Target]:
    """Return the targets that the results can answer."""
    found = []
    for target in _TARGETS:
        try:
            found.append(target(results))
        except _NotMeasuredError:
            continue
    return found


def _local_step(results: Results, work: str, way: str = "train_locally") -> dict[str, Any]:
    for row in results.get("local_step", []):
        if (row["work"], row["way"]) == (work, way):
            return row
    raise _NotMeasuredError


def _system(results: Results, work: str, system: str) -> Row:
    for row in rows(results, work):
        if row.system == system:
            return row
    raise _NotMeasuredError


def _at_least(title: str, wanted: float, measured: float, difference: float | None) -> Target:
    is_equal = difference is None or difference <= EQUAL_WORK
    text = f"{measured:.1f} x" + ("" if is_equal else f", but weights differ by {difference:.0e}")
    return Target(title, f"at least {wanted:g} x", text, measured >= wanted and is_equal)


def _step_target(title: str, work: str, wanted: float) -> Callable[[Results], Target]:
    def target(results: Results) -> Target:
        row = _local_step(results, work)
        return _at_least(title, wanted, row["times_faster"], row["relative_difference"])

    return target


def _speed_target(
    title: str, work: str, ours: str, peer: str, wanted: float
) -> Callable[[Results], Target]:
    def target(results: Results) -> Target:
        mine, other = _system(results, work, ours), _system(results, work, peer)
        ratio = mine.clients_per_second[0] / other.clients_per_second[0]
        return _at_least(title, wanted, ratio, mine.relative_difference)

    return target


def _round_target(title: str, work: str, wanted: float) -> Callable[[Results], Target]:
    """Ours on Ray takes at most a share of the seconds that Flower's engine takes for a round."""

    def target(results: Results) -> Target:
        mine, other = _system(results, work, "ray"), _system(results, work, "flower_idle")
        share = mine.seconds_per_round[0] / other.seconds_per_round[0]
        seconds = f"{seconds_text(mine.seconds_per_round[0])} of " + seconds_text(
            other.seconds_per_round[0]
        )
        return Target(
            title, f"at most 1/{wanted:g}", f"1/{1 / share:.1f} ({seconds})", share <= 1 / wanted
        )

    return target


def _sweep_target(results: Results) -> Target:
    if not results.get("sweep"):
        raise _NotMeasuredError
    seconds = results["sweep"][0]["wall_seconds"]
    title = "MNIST, figure 7: sweep of 9 runs of 100 rounds, start included"
    return Target(title, "at most 60 s", f"{seconds:.1f} s", seconds <= 60)


def _share_target(results: Results) -> Target:
    if not results.get("engine_share"):
        raise _NotMeasuredError
    (share,) = results["engine_share"][0]["engine_shares"]
    title = "CNN: the engine's own share of the 5 rounds of a run"
    return Target(title, "below 15 %", f"{100 * share:.1f} %", share < 0.15)


def seconds_text(seconds: float) -> str:
    """Write a time with the unit that fits."""
    return f"{1e3 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


_RAY = "end to end, E = 20: `ray` against"
_TARGETS: Final[tuple[Callable[[Results], Target], ...]] = (
    _step_target("local step, E = 20, against the DataLoader loop", "logistic_e20", 10),
    _speed_target(
        f"{_RAY} Flower's engine with a DataLoader client", "logistic_e20", "ray", "flower", 20
    ),
    _speed_target(f"{_RAY} pfl-research", "logistic_e20", "ray", "pfl", 20),
    _round_target(
        "round of 10 of 1000 clients that do nothing, against Flower's engine", "nothing", 10
    ),
    _round_target(
        "round of 10 clients with 44 MB of weights, against Flower's engine", "transport", 3
    ),
    _step_target("CNN, local step, against the DataLoader loop", "cnn", 1.6),
    _sweep_target,
    _share_target,
)
