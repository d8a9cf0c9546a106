"""The generated parts of the baseline's README and of its page in the documentation."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.analysis.audit_page import audit_markdown
from common.analysis.claims import load_claims
from common.analysis.generated_parts import fill_parts
from common.analysis.results import Results
from common.analysis.verdicts import Finding, audit, write_claims_json
from common.durable import write_atomically
from fedprox.comparison import compare
from fedprox.figures import FIGURES
from fedprox.stored import CLAIMS, PAGE, README, RESULTS
from fedprox.tables import tables

COMMAND = "python -m fedprox.reproduce {experiments}"


def judge(stored: Mapping[str, Results]) -> list[Finding]:
    """Judge the claims by the results of experiments.

    Raises:
        UserInputError: claims.yaml is damaged, or results lack what a claim is about.
    """
    return audit(load_claims(CLAIMS), stored.get, COMMAND)


def fill(stored: Mapping[str, Results], findings: Sequence[Finding]) -> None:
    """Write claims.json, and fill the parts of README.md and docs/fedprox.md.

    Raises:
        UserInputError: A page has a part that there is no text for.
        StorageError: A file cannot be written.
    """
    write_claims_json(findings, RESULTS / "claims.json")
    for page in (README, PAGE):
        parts = {name: figure_part(name, page.parent, stored.get(name)) for name in FIGURES}
        parts["claims"] = audit_markdown(findings).rstrip()
        write_atomically(page, fill_parts(page.read_text(encoding="utf-8"), parts).encode())


def figure_part(experiment: str, folder: Path, results: Results | None) -> str:
    """Return what a page says of an experiment: command, cost, figure and tables.

    Args:
        experiment: Its name.
        folder: That of the page, from which it refers to the figure.
        results: Its stored runs; None if there are none.
    """
    figure = FIGURES[experiment]
    command = f"```bash\n{COMMAND.format(experiments=experiment)}\n```"
    if results is None:
        return f"{figure.question}\n\n{command}\n\nNot run yet: there are no stored results."
    picture = os.path.relpath(RESULTS / f"{experiment}.png", folder)
    return "\n\n".join(
        [
            figure.question,
            command,
            _cost(results),
            f"![{figure.title}]({picture})",
            tables(compare(results), experiment).markdown,
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
