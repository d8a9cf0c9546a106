"""The generated parts of a baseline's README and of its page in the documentation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.analysis.audit_page import audit_markdown
from common.analysis.claims import load_claims
from common.analysis.generated_parts import fill_parts
from common.analysis.results import Results
from common.analysis.verdicts import Finding, audit, write_claims_json
from common.durable import write_atomically
from common.replication.comparison import compare
from common.replication.cost import cost_line
from common.replication.definition import Replication
from common.replication.drawing import more_figures
from common.replication.experiments_table import experiments_table
from common.replication.tables import Tables, tables

_NOT_RUN: Final = "Not run yet: there are no stored results."


@dataclass(frozen=True)
class Judged:
    """What is made of the results of all experiments together.

    Attributes:
        findings: What they say of the claims.
        more_parts: The baseline's own parts of its pages, by name.
    """

    findings: Sequence[Finding]
    more_parts: Mapping[str, str]


def judge(replication: Replication, stored: Mapping[str, Results]) -> Judged:
    """Judge the claims by the results of experiments, and make the baseline's own parts.

    Args:
        replication: The baseline.
        stored: Its results, by experiment.

    Returns:
        The findings and the parts.

    Raises:
        UserInputError: claims.yaml is damaged, or results lack what a claim or a part is about.
    """
    findings = audit(load_claims(replication.claims), stored.get, replication.command)
    return Judged(findings, replication.more_parts(stored))


def fill(replication: Replication, stored: Mapping[str, Results], judged: Judged) -> None:
    """Write claims.json, and fill the parts of the README, of the page and of front pages.

    Raises:
        UserInputError: A page has a part that there is no text for.
        StorageError: A file cannot be written.
    """
    write_claims_json(judged.findings, replication.results / "claims.json")
    for page in (replication.readme, replication.page):
        _fill_page(page, page_parts(replication, stored, judged, page.parent))
    for page in replication.front_pages:
        _fill_page(page, front_parts(replication, stored, page.parent))


def _fill_page(page: Path, parts: Mapping[str, str]) -> None:
    write_atomically(page, fill_parts(page.read_text(encoding="utf-8"), parts).encode())


def page_parts(
    replication: Replication, stored: Mapping[str, Results], judged: Judged, folder: Path
) -> dict[str, str]:
    """Return the text of every part that a page may have, by name.

    Args:
        replication: Has the figures.
        stored: Results of experiments, by name.
        judged: What is made of all of them.
        folder: That of the page, from which it refers to the figures.
    """
    parts = {
        name: figure_part(replication, name, folder, stored.get(name))
        for name in replication.figures
    }
    parts["experiments"] = experiments_table(replication, stored)
    parts["claims"] = audit_markdown(judged.findings).rstrip()
    return parts | dict(judged.more_parts)


def front_parts(
    replication: Replication, stored: Mapping[str, Results], folder: Path
) -> dict[str, str]:
    """Return what a front page shows of each experiment with results: figure and accuracies.

    Args:
        replication: Has the figures.
        stored: Results of experiments, by name.
        folder: That of the page, from which it refers to the figures.
    """
    parts = {}
    for name, results in stored.items():
        title = replication.figures[name].title
        picture = os.path.relpath(replication.results / f"{name}.png", folder)
        accuracies = tables(replication, compare(replication, results), name).main[:1]
        parts[name] = f"![{title}]({picture})\n\n{Tables(accuracies, ()).markdown}"
    return parts


def figure_part(
    replication: Replication, experiment: str, folder: Path, results: Results | None
) -> str:
    """Return what a page says of an experiment: command, cost, figures and tables.

    Args:
        replication: Has the experiment's figure.
        experiment: Its name.
        folder: That of the page, from which it refers to the figures.
        results: Its stored runs; None if there are none.
    """
    figure = replication.figures[experiment]
    command = f"```bash\n{replication.command.format(experiments=experiment)}\n```"
    if results is None:
        why = figure.no_results
        told = f"There are no stored results: {why}." if why else _NOT_RUN
        return f"{figure.question}\n\n{command}\n\n{told}"
    panels = compare(replication, results)
    pictures = {f"{experiment}.png": figure.title} | {
        f"{experiment}.{more.name}.png": more.title
        for more in more_figures(replication, panels, experiment)
    }
    return "\n\n".join(
        [
            figure.question,
            command,
            cost_line(results),
            *(
                f"![{title}]({os.path.relpath(replication.results / file, folder)})"
                for file, title in pictures.items()
            ),
            tables(replication, panels, experiment).folded_markdown,
        ]
    )
