"""What a baseline's experiments are, what each takes, and which were run."""

from collections.abc import Mapping

from common.analysis.results import Results
from common.analysis.tables import markdown_table
from common.replication.cost import duration, hardware
from common.replication.definition import FigureOf, Replication


def experiments_table(replication: Replication, stored: Mapping[str, Results]) -> str:
    """Return a Markdown table of all experiments: runs, seeds, time and machine of those stored.

    Args:
        replication: Has the experiments.
        stored: Results, by the name of their experiment.
    """
    rows = [
        [f"`{name}`", figure.title, *_took(figure, stored.get(name))]
        for name, figure in replication.figures.items()
    ]
    header = ["experiment", "shows", "runs", "seeds", "time", "hardware"]
    command = replication.command.format(experiments="EXPERIMENT")
    return f"`{command}` makes one of them:\n\n{markdown_table(header, rows, left=(0, 1, 5))}"


def _took(figure: FigureOf, results: Results | None) -> list[str]:
    if results is None:
        why = figure.no_results
        return ["", "", "", f"no results: {why}" if why else "not run"]
    runs = results.runs
    return [
        str(len(runs)),
        str(runs["seed"].nunique()),
        duration(runs["seconds"].sum()),
        hardware(results),
    ]
