"""Runs -> the figure and the table of the paper's comparison: `python -m fedprox.report RUNS...`.

Figure 7 of Li et al. 2020 shows test accuracy over rounds, a panel for each fraction of
stragglers. The table has the mean over the last ten rounds, for single rounds are noise.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from common.analysis.curves import Arms, plot_panels
from common.analysis.runs import TAIL, Run, find_incomplete, load_runs
from common.analysis.tables import markdown_table
from common.errors import UserInputError
from common.experiment.config import NonNegativeFloat, Probability, Seed

# More panels beside each other than can be read, and than a picture can be wide.
MOST_PANELS = 20


class ComparedKeys(BaseModel):
    """The keys that tell the runs of a comparison apart."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    algorithm: Literal["fedprox", "fedavg"]
    mu: NonNegativeFloat
    adaptive_mu: bool
    stragglers_fraction: Probability
    seed: Seed


def arm_name(keys: ComparedKeys) -> str:
    """Name the method of a run as the paper does."""
    if keys.algorithm == "fedavg":
        return "FedAvg, stragglers dropped"
    if keys.adaptive_mu:
        return f"FedProx, adaptive μ from {keys.mu:.12g}"
    return f"FedProx, μ = {keys.mu:.12g}"


def group_by_stragglers(runs: Sequence[Run]) -> dict[float, Arms]:
    """Group runs by fraction of stragglers, rising, and within that by method.

    Raises:
        UserInputError: A run's configuration cannot be compared, two runs are the same but for
            something that is not compared here, or there are too many fractions for a figure.
    """
    panels: dict[float, dict[str, list[Run]]] = {}
    met: set[tuple[float, str, int]] = set()
    compared = [(run.config_as(ComparedKeys), run) for run in runs]
    for keys, run in sorted(compared, key=lambda pair: (arm_name(pair[0]), pair[0].seed)):
        fraction, name = keys.stragglers_fraction, arm_name(keys)
        if (fraction, name, keys.seed) in met:
            raise UserInputError(
                f"RUNS hold several of {name!r} with stragglers_fraction={fraction} and the "
                "same seed: they must differ in method, stragglers_fraction or seed alone."
            )
        met.add((fraction, name, keys.seed))
        panels.setdefault(fraction, {}).setdefault(name, []).append(run)
    if len(panels) > MOST_PANELS:
        raise UserInputError(
            f"RUNS hold {len(panels)} values of stragglers_fraction: there must be at most "
            f"{MOST_PANELS}, which have a panel each."
        )
    return dict(sorted(panels.items()))


def accuracy_table(panels: dict[float, Arms]) -> str:
    """Return the mean test accuracy of the last ten rounds, in percent, over all seeds."""
    names = list(dict.fromkeys(name for arms in panels.values() for name in arms))
    rows = [[name, *(_cell(arms.get(name, ())) for arms in panels.values())] for name in names]
    return markdown_table(["test accuracy (%)", *map(_panel_title, panels)], rows)


def _cell(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    return f"{100 * np.mean([run.tail_mean('test_accuracy') for run in runs]):.1f}"


def _caption(panels: dict[float, Arms]) -> str:
    """Say what the figures of the table are means of."""
    runs = [run for arms in panels.values() for same in arms.values() for run in same]
    rounds = min(TAIL, *(len(run.rounds) for run in runs))
    seeds = sorted({run.config_as(ComparedKeys).seed for run in runs})
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, the figure's bands"
    return f"Mean over the last {rounds} rounds of {of_seeds}:"


def _panel_title(fraction: float) -> str:
    return f"{100 * fraction:.12g} % stragglers"


def main(arguments: Sequence[str]) -> int:
    """Print the table and save it and the figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedprox.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs")
    parser.add_argument(
        "--output", type=Path, help="folder for figure and table (default: the first of RUNS)"
    )
    options = parser.parse_args(arguments)
    try:
        _report(options.runs, options.output or options.runs[0])
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _report(folders: Sequence[Path], output: Path) -> None:
    panels = group_by_stragglers(load_runs(folders))
    table = accuracy_table(panels)
    titled = {_panel_title(fraction): arms for fraction, arms in panels.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "table.md").write_text(table + "\n")
        for suffix in ("png", "svg"):
            plot_panels(titled, "test_accuracy", "test accuracy", output / f"figure.{suffix}")
    except OSError as error:
        raise UserInputError(
            f"--output={str(output)!r} is not allowed: it must be a folder that can be written "
            f"({error.strerror})."
        ) from None
    print(f"\n{_caption(panels)}\n\n{table}\n")
    for run in find_incomplete(folders):
        print(f"Left out, for it has not ended: {run}")
    print(f"Figure: {(output / 'figure.png').resolve()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
