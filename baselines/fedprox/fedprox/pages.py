"""The generated parts of the baseline's README and of its page in the documentation."""

import os
from pathlib import Path

from common.analysis.audit_page import audit_markdown
from common.analysis.claims import load_claims
from common.analysis.generated_parts import fill_parts
from common.analysis.results import Results
from common.analysis.verdicts import audit, write_claims_json
from common.durable import write_atomically
from fedprox.comparison import compare
from fedprox.figures import FIGURES
from fedprox.stored import CLAIMS, PAGE, README, RESULTS
from fedprox.tables import tables

COMMAND = "python -m fedprox.reproduce {experiments}"


def rebuild() -> None:
    """Write claims.json, and fill the parts of README.md and docs/fedprox.md.

    Raises:
        UserInputError: Stored results or claims.yaml are damaged.
        StorageError: A file cannot be written.
    """
    findings = audit(load_claims(CLAIMS), _load, COMMAND)
    write_claims_json(findings, RESULTS / "claims.json")
    for page in (README, PAGE):
        parts = {name: figure_part(name, page.parent) for name in FIGURES}
        parts["claims"] = audit_markdown(findings).rstrip()
        write_atomically(page, fill_parts(page.read_text(encoding="utf-8"), parts).encode())


def figure_part(name: str, folder: Path) -> str:
    """Return what a page says of an experiment: command, cost, figure and tables.

    Args:
        name: The experiment.
        folder: That of the page, from which it refers to the figure.
    """
    figure = FIGURES[name]
    command = f"```bash\n{COMMAND.format(experiments=name)}\n```"
    results = _load(name)
    if results is None:
        return f"{figure.question}\n\n{command}\n\nNot run yet: there are no stored results."
    picture = os.path.relpath(RESULTS / f"{name}.png", folder)
    return "\n\n".join(
        [
            figure.question,
            command,
            _cost(results),
            f"![{figure.title}]({picture})",
            tables(compare(results), name).markdown,
        ]
    )


def _load(name: str) -> Results | None:
    return Results.find(RESULTS, name)


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
