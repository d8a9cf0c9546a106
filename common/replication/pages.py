"""The generated parts of a baseline's README and of its page in the documentation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.analysis.audit_page import audit_markdown
from common.analysis.claims import load_claims
from common.analysis.generated_parts import fill_parts
from common.analysis.results import Results
from common.analysis.verdicts import Finding, audit, write_claims_json
from common.durable import write_atomically
from common.replication.comparison import compare
from common.replication.definition import Replication
from common.replication.drawing import more_figures
from common.replication.tables import tables


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

    Raises:
        UserInputError: claims.yaml is damaged, or results lack what a claim or a part is about.
    """
    findings = audit(load_claims(replication.claims), stored.get, replication.command)
    return Judged(findings, replication.more_parts(stored))


def fill(replication: Replication, stored: Mapping[str, Results], judged: Judged) -> None:
    """Write claims.json, and fill the parts of the README and of the page.

    Raises:
        UserInputError: A page has a part that there is no text for.
        StorageError: A file cannot be written.
    """
    write_claims_json(judged.findings, replication.results / "claims.json")
    for page in (replication.readme, replication.page):
        parts = {
            name: figure_part(replication, name, page.parent, stored.get(name))
            for name in replication.figures
        }
        parts["claims"] = audit_markdown(judged.findings).rstrip()
        parts |= judged.more_parts
        write_atomically(page, fill_parts(page.read_text(encoding="utf-8"), parts).encode())


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
        return f"{figure.question}\n\n{command}\n\nNot run yet: there are no stored results."
    panels = compare(replication, results)
    pictures = {f"{experiment}.png": figure.title} | {
        f"{experiment}.{more.name}.png": more.title
        for more in more_figures(replication, panels, experiment)
    }
    return "\n\n".join(
        [
            figure.question,
            command,
            _cost(results),
            *(
                f"![{title}]({os.path.relpath(replication.results / file, folder)})"
                for file, title in pictures.items()
            ),
            tables(replication, panels, experiment).markdown,
        ]
    )


def _cost(results: Results) -> str:
    """Say what the runs took, and on what."""
    runs = results.runs
    seconds = int(runs["seconds"].sum())
    minutes = f"{seconds // 60} min {seconds % 60} s"
    kinds = runs[["processor", "cores"]].dropna().drop_duplicates().itertuples(index=False)
    machines = " and ".join(f"{processor} with {cores:.0f} cores" for processor, cores in kinds)
    # A plus is for a working tree that was not that of the commit.
    commits = ", ".join(
        f"`{commit[:7]}{'+' * commit.endswith('+')}`" for commit in runs["commit"].dropna().unique()
    )
    engines = " and ".join(f"`engine={engine}`" for engine in runs["engine"].unique())
    return (
        f"*{len(runs)} runs, {minutes} one after another, on {machines or 'unknown machines'}, "
        f"{engines}, at {commits or 'unknown commits'}.*"
    )
