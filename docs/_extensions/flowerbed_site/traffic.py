"""What the clients of an experiment send and are sent in a round, from the stored results."""

from typing import Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from common.analysis.results import Results
from common.analysis.tables import markdown_table
from common.replication.comparison import compare
from flowerbed_site import repository

_HEADER: Final = ("experiment", "arms", "clients, K", "MB up", "MB down")
# More arms of the same bytes than these are counted.
_MOST_NAMED: Final = 2


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("bytes-per-round", BytesPerRound)


class BytesPerRound(SphinxDirective):
    """A table of the bytes of a round, the mean over rounds and seeds.

    The content has an experiment a line, as PACKAGE/EXPERIMENT.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = []
        for line in self.content:
            package, _, experiment = line.partition("/")
            if package not in repository.replications():
                raise self.error(f"{line!r} is not allowed: {package!r} must be a baseline.")
            if experiment not in repository.stored(package):
                raise self.error(f"{line!r} is not allowed: it must have stored results.")
            rows += _rows(package, experiment)
        return self.parse_text_to_nodes(markdown_table(_HEADER, rows, left=(0, 1)))


def _rows(package: str, experiment: str) -> list[list[str]]:
    """Return a row for all arms of a panel that move as much."""
    panels = compare(repository.replications()[package], repository.stored(package)[experiment])
    rows = []
    for title, arms in panels.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for name, results in arms.items():
            alike.setdefault(_moved(results), []).append(name)
        setting = f"`{package}` {experiment}{f': {title}' if len(panels) > 1 else ''}"
        rows += [[setting, _name(names), *cells] for cells, names in alike.items()]
    return rows


def _moved(results: Results) -> tuple[str, ...]:
    """Return the clients of a round, and the megabytes that they send and are sent."""
    megabytes = results.rounds[["bytes_up", "bytes_down"]].mean() / 1e6
    cohort = results.runs["clients_per_round"].iloc[0]
    return str(cohort), *(f"{mean:,.3g}" for mean in megabytes)


def _name(arms: list[str]) -> str:
    if len(arms) <= _MOST_NAMED:
        return "; ".join(arms)
    return f"{arms[0]} and {len(arms) - 1} more"
