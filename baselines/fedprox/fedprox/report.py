"""Results -> figures, tables and verdicts: `python -m fedprox.report`.

Without arguments it makes everything anew that is made from the results stored in ../results:
figures, tables, claims.json, and the parts of the README and of docs/fedprox.md that show them.
With RUNS, the folders of some runs, it makes the figure and the tables of those.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.analysis.results import Results
from common.analysis.runs import find_incomplete, load_runs
from common.durable import telling, write_atomically
from common.errors import StorageError, UserInputError
from common.experiment import cli
from common.experiment.run_files import CHANGEABLE
from fedprox import pages
from fedprox.compared_keys import ArmKeys, PanelKeys
from fedprox.comparison import Panels, compare
from fedprox.config import FedProxConfig
from fedprox.drawing import draw
from fedprox.figures import FIGURES
from fedprox.stored import RESULTS
from fedprox.tables import Tables, tables

# Keys that the sweep of an experiment may vary, and those that change no result.
_VARIED = {*PanelKeys.model_fields, *ArmKeys.model_fields, "seed", *CHANGEABLE}


def report_runs(
    folders: Sequence[Path], output: Path, experiment: str, changed: Sequence[str] = ()
) -> None:
    """Print the tables of some runs, and save them with the figure.

    Args:
        folders: Hold the runs.
        output: Takes EXPERIMENT.png, EXPERIMENT.svg, table.md and table.tex.
        experiment: Gives the figure its title and published curves; any other name gives none.
        changed: Keys, with their values, in which the runs differ from the experiment.

    Raises:
        UserInputError: The runs cannot be read or compared, or ``output`` cannot be written.
    """
    panels = compare(_load(folders))
    made = tables(panels, experiment)
    _write(panels, made, output, experiment, changed)
    print(f"\n{made.markdown}\n")
    for folder in find_incomplete(folders):
        print(f"Left out, for it has not ended: {folder}")
    print(f"Figure: {(output / experiment).resolve()}.png")


def _load(folders: Sequence[Path]) -> Results:
    runs = load_runs(folders)
    for run in runs:
        run.config_as(PanelKeys)
        run.config_as(ArmKeys)
    return Results.of(runs)


def _write(
    panels: Panels, made: Tables, output: Path, experiment: str, changed: Sequence[str]
) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for suffix in ("png", "svg"):
            draw(panels, experiment, output / f"{experiment}.{suffix}", changed)
        (output / "table.md").write_text(f"{made.markdown}\n", encoding="utf-8")
        (output / "table.tex").write_text(f"{made.latex}\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(
            f"--output={str(output)!r} is not allowed: it must be a folder that can be written "
            f"({error.strerror})."
        ) from None


def store(folders: Sequence[Path], experiment: str) -> None:
    """Keep some runs as the results of an experiment; nothing is kept that cannot be judged.

    Raises:
        UserInputError: The runs are not all of the experiment's, or lack what a claim is about.
        StorageError: A file cannot be written.
    """
    _require_complete(folders, experiment)
    results = _load(folders)
    _require_runs_of(experiment, results)
    compare(results)
    pages.judge(_load_stored() | {experiment: results})
    results.save(RESULTS, experiment)


def rebuild() -> None:
    """Make everything that is made from the stored results.

    Raises:
        UserInputError: Stored results or claims.yaml are damaged.
        StorageError: A file cannot be written.
    """
    stored = _load_stored()
    findings = pages.judge(stored)
    for name in FIGURES:
        if name in stored:
            panels = compare(stored[name])
            with telling(RESULTS):
                draw(panels, name, RESULTS / f"{name}.png")
            write_atomically(RESULTS / f"{name}.tex", f"{tables(panels, name).latex}\n".encode())
            print(f"{name}: {len(stored[name].runs)} runs")
        else:
            for suffix in ("png", "tex"):
                (RESULTS / f"{name}.{suffix}").unlink(missing_ok=True)
    pages.fill(stored, findings)


def _load_stored() -> dict[str, Results]:
    """Load the stored results of every experiment that has some, by its name."""
    found = {name: Results.find(RESULTS, name) for name in FIGURES}
    return {name: results for name, results in found.items() if results is not None}


def _require_complete(folders: Sequence[Path], experiment: str) -> None:
    """Refuse to store runs of which some have not ended, or none."""
    incomplete = find_incomplete(folders)
    if incomplete or not folders:
        found = f"{str(incomplete[0])!r} has not ended" if incomplete else "there are none"
        raise UserInputError(
            f"--store={experiment} is not allowed: RUNS must all have ended, but {found}."
        )


def _require_runs_of(experiment: str, results: Results) -> None:
    """Refuse to store what the experiment's own command would not have run."""
    config = cli.compose_config("fedprox", FedProxConfig, [f"+experiment={experiment}"])
    for key, value in config.to_run_config().items():
        if key in _VARIED or key not in results.keys:
            continue
        others = [other for other in results.runs[key].unique().tolist() if other != value]
        if others:
            raise UserInputError(
                f"--store={experiment} is not allowed: {key} of RUNS must be {value!r}, as in that "
                f"experiment, but is {others[0]!r}."
            )


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedprox.report", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders that hold runs")
    parser.add_argument(
        "--output", type=Path, help="folder for figure and tables (default: the first of RUNS)"
    )
    parser.add_argument(
        "--store", choices=FIGURES, help="keep RUNS as the results of this experiment"
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.store:
            store(options.runs, options.store)
        if options.runs:
            output = options.output or options.runs[0]
            report_runs(options.runs, output, options.store or "figure")
        if options.store or not options.runs:
            rebuild()
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
