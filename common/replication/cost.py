"""What runs took, and on what."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from common.analysis.results import Results

# Of a commit's hash.
_DIGITS: Final = 7
_MACHINE: Final = ["processor", "cores", "engine"]


def cost_line(results: Results) -> str:
    """Return a sentence of Markdown: how many runs, how long, on what machines, at which commits.

    Times are added up, so that they are those of one run after another, whatever ran beside.
    """
    runs = results.runs
    # A plus is for a working tree that was not that of the commit.
    commits = [
        f"`{commit[:_DIGITS]}{'+' * commit.endswith('+')}`"
        for commit in runs["commit"].dropna().unique()
    ]
    at = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}" if commits else "unknown commits"
    one_after_another = " one after another" if len(runs) > 1 else ""
    return f"*{_time_of(runs)}{one_after_another} {_machines(runs)}, at {at}.*"


def hardware(results: Results) -> str:
    """Return on what machines some runs were made, and with which engines, as Markdown."""
    return "; ".join(kind for kind, _ in _kinds(results.runs))


def _machines(runs: pd.DataFrame) -> str:
    kinds = list(_kinds(runs))
    if len(kinds) == 1:
        return f"({kinds[0][0]})"
    return f"({'; '.join(f'{_time_of(of_kind)} on {kind}' for kind, of_kind in kinds)})"


def _kinds(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield every kind of machine and engine, with its runs."""
    rows = runs.reindex(columns=_MACHINE).itertuples(index=False, name=None)
    kinds = [_kind(*row) for row in rows]
    for kind in dict.fromkeys(kinds):
        yield kind, runs[[other == kind for other in kinds]]


def _kind(processor: Any, cores: Any, engine: Any) -> str:
    """Say what a run tells of its machine and its engine."""
    kind = "an unknown machine" if pd.isna(processor) else _plain(processor)
    if not pd.isna(cores):
        kind += f", {cores:.0f} core{'s' * (cores > 1)}"
    return kind if pd.isna(engine) else f"{kind}, `engine={engine}`"


def _time_of(runs: pd.DataFrame) -> str:
    seconds: pd.Series[Any] = runs["seconds"]
    # A run may not tell its time.
    at_least = "at least " if seconds.isna().any() else ""
    verb = "runs take" if len(runs) > 1 else "run takes"
    return f"{len(runs)} {verb} {at_least}{duration(float(seconds.sum()))}"


def _plain(text: str) -> str:
    """Escape what Markdown would make something of."""
    return re.sub(r"([\\`*_\[\]<>!#&|])", r"\\\1", text)


def duration(seconds: float) -> str:
    """Return a time in words, such as "1 h 2 min 3 s"; parts of a second are left out."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        del parts[0]
    return " ".join(f"{number} {unit}" for number, unit in parts)
