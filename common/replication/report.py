"""Results -> figures, tables and verdicts: `python -m <baseline>.report`.

Without arguments it makes everything anew that is made from the stored results; with the folders
of some runs, the figure and the tables of those, also as a page that can be mailed.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.analysis.results import Results
from common.analysis.runs import Run, find_incomplete, load_runs
from common.durable import telling, write_atomically
from common.errors import StorageError, UserInputError
from common.experiment import cli
from common.experiment.run_files import CHANGEABLE
from common.replication import pages
from common.replication.comparison import Panels, compare
from common.replication.definition import Replication
from common.replication.drawing import draw, more_figures
from common.replication.html_page import Report, html_page
from common.replication.stored import load_stored
from common.replication.tables import tables


def report_runs(
    replication: Replication,
    folders: Sequence[Path],
    output: Path,
    experiment: str,
    changed: Sequence[str] = (),
) -> None:
    """Print the tables of some runs, and save them with the figure and a page of all.

    Args:
        replication: What they are runs of.
        folders: Hold the runs.
        output: Takes EXPERIMENT.html, which needs no other file, EXPERIMENT.png, EXPERIMENT.svg,
            the baseline's further figures, table.md and table.tex.
        experiment: Gives the figure its title and published curves; any other name gives none.
        changed: Keys, with their values, in which the runs differ from the experiment.

    Raises:
        UserInputError: The runs cannot be read or compared, or ``output`` cannot be written.
    """
    runs = _load_runs(replication, folders)
    results = Results.of(runs)
    panels = compare(replication, results)
    made = tables(replication, panels, experiment)
    left_out = find_incomplete(folders)
    report = Report(replication, experiment, changed, runs, left_out, results, made)
    _write(report, panels, output)
    print(f"\n{made.markdown}\n")
    for folder in left_out:
        print(f"Left out, for it has not ended: {folder}")
    print(f"Figure: {(output / experiment).resolve()}.png")
    print(f"Page: {(output / experiment).resolve()}.html")


def _load_runs(replication: Replication, folders: Sequence[Path]) -> list[Run]:
    runs = load_runs(folders)
    for run in runs:
        run.config_as(replication.panel_keys)
        run.config_as(replication.arm_keys)
    return runs


def _write(report: Report, panels: Panels, output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        page = html_page(report, _draw_all(report, panels, output))
        # A folder's name may be no Unicode.
        (output / f"{report.experiment}.html").write_text(page, encoding="utf-8", errors="replace")
        (output / "table.md").write_text(f"{report.tables.markdown}\n", encoding="utf-8")
        (output / "table.tex").write_text(f"{report.tables.latex}\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(
            f"--output={str(output)!r} is not allowed: it must be a folder that can be written "
            f"({error.strerror})."
        ) from None


def _draw_all(report: Report, panels: Panels, output: Path) -> list[tuple[str, str]]:
    """Save all figures; return what each shows, and the text of its SVG."""
    replication, experiment, changed = report.replication, report.experiment, report.changed
    curves = partial(draw, replication, panels, experiment, changed=changed)
    figures = [(experiment, "Learning curves", curves)] + [
        (f"{experiment}.{name}", title, draw_to)
        for name, title, draw_to in more_figures(replication, panels, experiment, changed)
    ]
    for name, _, draw_to in figures:
        for suffix in ("png", "svg"):
            draw_to(output / f"{name}.{suffix}")
    return [
        (title, (output / f"{name}.svg").read_text(encoding="utf-8")) for name, title, _ in figures
    ]


def store(replication: Replication, folders: Sequence[Path], experiment: str) -> None:
    """Keep some runs as the results of an experiment; nothing is kept that cannot be judged.

    Raises:
        UserInputError: The runs are not all of the experiment's, or lack what a claim is about.
        StorageError: A file cannot be written.
    """
    _require_complete(folders, experiment)
    results = Results.of(_load_runs(replication, folders))
    _require_runs_of(replication, experiment, results)
    compare(replication, results)
    pages.judge(replication, load_stored(replication) | {experiment: results})
    results.save(replication.results, experiment)


def rebuild(replication: Replication) -> None:
    """Make everything that is made from the stored results.

    Raises:
        UserInputError: Stored results or claims.yaml are damaged.
        StorageError: A file cannot be written.
    """
    stored = load_stored(replication)
    judged = pages.judge(replication, stored)
    folder = replication.results
    with telling(folder):
        folder.mkdir(exist_ok=True)  # A new baseline has none.
    for name in replication.figures:
        for file in folder.glob(f"{name}.*.png"):
            file.unlink()
        if name in stored:
            panels = compare(replication, stored[name])
            with telling(folder):
                draw(replication, panels, name, folder / f"{name}.png")
                for figure in more_figures(replication, panels, name):
                    figure.draw(folder / f"{name}.{figure.name}.png")
            latex = tables(replication, panels, name).latex
            write_atomically(folder / f"{name}.tex", f"{latex}\n".encode())
            print(f"{name}: {len(stored[name].runs)} runs")
        else:
            for suffix in ("png", "tex"):
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    pages.fill(replication, stored, judged)


def _require_complete(folders: Sequence[Path], experiment: str) -> None:
    """Refuse to store runs of which some have not ended, or none."""
    incomplete = find_incomplete(folders)
    if incomplete or not folders:
        found = f"{str(incomplete[0])!r} has not ended" if incomplete else "there are none"
        raise UserInputError(
            f"--store={experiment} is not allowed: RUNS must all have ended, but {found}."
        )


def _require_runs_of(replication: Replication, experiment: str, results: Results) -> None:
    """Refuse to store what the experiment's own command would not have run."""
    varied = {*replication.compared_keys, *replication.also_differ, "seed", *CHANGEABLE}
    overrides = [f"+experiment={experiment}"]
    config = cli.compose_config(replication.package, replication.schema, overrides)
    for key, value in config.to_run_config().items():
        if key in varied or key not in results.keys:
            continue
        others = [other for other in results.runs[key].unique().tolist() if other != value]
        if others:
            raise UserInputError(
                f"--store={experiment} is not allowed: {key} of RUNS must be {value!r}, as in that "
                f"experiment, but is {others[0]!r}."
            )


def main(replication: Replication, arguments: Sequence[str]) -> int:
    """Run the command line of a baseline; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {replication.package}.report", description=_describe(replication)
    )
    parser.add_argument("runs", nargs="*", type=Path, help="folders that hold runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for figure, tables and page (default: the first of RUNS)",
    )
    parser.add_argument(
        "--store", choices=replication.figures, help="keep RUNS as the results of this experiment"
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.store:
            store(replication, options.runs, options.store)
        if options.runs:
            output = options.output or options.runs[0]
            report_runs(replication, options.runs, output, options.store or "figure")
        if options.store or not options.runs:
            rebuild(replication)
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _describe(replication: Replication) -> str:
    return (
        "Without arguments, make everything anew that is made from the stored results: figures, "
        "tables, claims.json, and the parts of the README and of "
        f"{replication.page.parent.name}/{replication.page.name} that show them. With RUNS, the "
        "folders of some runs, make the figure and the tables of those, also as a page of HTML "
        "that needs no other file."
    )
