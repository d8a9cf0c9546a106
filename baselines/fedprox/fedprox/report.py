"""Runs -> the figure and the table of the paper's comparison: `python -m fedprox.report RUNS...`.

Figure 7 of Li et al. 2020 shows test accuracy over rounds, a panel for each fraction of
stragglers. The table has the mean over the last ten rounds, for single rounds are noise.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.analysis.curves import Arms, plot_panels
from common.analysis.runs import TAIL, Run, load_runs
from common.analysis.tables import markdown_table
from common.errors import UserInputError


def arm_name(run: Run) -> str:
    """Name the method of a run as the paper does."""
    if run.config["algorithm"] == "fedavg":
        return "FedAvg, stragglers dropped"
    if run.config["adaptive_mu"]:
        return f"FedProx, adaptive μ from {run.config['mu']:g}"
    return f"FedProx, μ = {run.config['mu']:g}"


def group_by_stragglers(runs: Sequence[Run]) -> dict[float, Arms]:
    """Group runs by fraction of stragglers, rising, and within that by method.

    Raises:
        UserInputError: Two runs are the same but for something that is not compared here.
    """
    panels: dict[float, dict[str, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: (arm_name(run), run.config["seed"])):
        fraction = run.config["stragglers_fraction"]
        panels.setdefault(fraction, {}).setdefault(arm_name(run), []).append(run)
    for fraction, arms in panels.items():
        for name, same in arms.items():
            seeds = [run.config["seed"] for run in same]
            if len(set(seeds)) < len(seeds):
                raise UserInputError(
                    f"RUNS hold several of {name!r} with stragglers_fraction={fraction} and the "
                    "same seed: they must differ in method, stragglers_fraction or seed alone."
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
    seeds = sorted({run.config["seed"] for run in runs})
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, the figure's bands"
    return f"Mean over the last {rounds} rounds of {of_seeds}:"


def _panel_title(fraction: float) -> str:
    return f"{100 * fraction:g} % stragglers"


def main(arguments: Sequence[str]) -> int:
    """Print the table and save it and the figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedprox.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs")
    parser.add_argument(
        "--output", type=Path, help="folder for figure and table (default: the first of RUNS)"
    )
    options = parser.parse_args(arguments)
    try:
        panels = group_by_stragglers(load_runs(options.runs))
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    output: Path = options.output or options.runs[0]
    output.mkdir(parents=True, exist_ok=True)
    table = accuracy_table(panels)
    (output / "table.md").write_text(table + "\n")
    titled = {_panel_title(fraction): arms for fraction, arms in panels.items()}
    for suffix in ("png", "svg"):
        plot_panels(titled, "test_accuracy", "test accuracy", output / f"figure.{suffix}")
    print(f"\n{_caption(panels)}\n\n{table}\n")
    print(f"Figure: {(output / 'figure.png').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
