"""What a baseline says of itself, once, for its figures, tables and pages.

Importing this is quick, so that a command can refuse its arguments before it waits for pandas.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from common.experiment.config import ExperimentConfig
from common.replication.compared_keys import ArmKeys, PanelKeys
from common.replication.metrics import Metric

if TYPE_CHECKING:
    from common.analysis.results import Results
    from common.replication.comparison import Panels

Statistic = Literal["best", "last", "tail_mean", "bytes_up", "bytes_down"]


def _no_parts(stored: "Mapping[str, Results]") -> Mapping[str, str]:
    return {}


class MoreFigure(NamedTuple):
    """A figure that a baseline has beside the learning curves of an experiment.

    Attributes:
        name: What its file is called beside the experiment, which is EXPERIMENT.NAME.png.
        title: What it shows, as a page says it.
        draw: Draws it to a file, whose suffix says the format.
    """

    name: str
    title: str
    draw: Callable[[Path], None]


@dataclass(frozen=True)
class FigureOf:
    """What an experiment of conf/experiment shows.

    Attributes:
        title: Heading of its figure.
        question: What it is to answer.
        target: Test accuracy whose rounds are counted; None where that is not the question.
        reference: Name of the arm that others are compared with; the first where it is None, or
            where there is no such arm.
        statistics: What there is a table of, beside the mean of the last rounds: the test accuracy
            of the best and of the last round and the mean of the last ten, and what all clients
            sent and were sent.
        tail: How many last rounds tables have the mean of; all of a run that has fewer.
        no_results: Why there are no stored results of it, to follow a colon; empty if there are
            some, or if it merely was not run yet.
    """

    title: str
    question: str
    target: float | None = None
    reference: str | None = None
    statistics: tuple[Statistic, ...] = ()
    tail: int = 10
    no_results: str = ""


def _no_figures(panels: "Panels", figure: FigureOf) -> Sequence[MoreFigure]:
    return ()


@dataclass(frozen=True)
class Replication:
    """A baseline's figures, and where it keeps what is made of them.

    Attributes:
        package: Name of the baseline's package.
        schema: What its configuration is checked against.
        panel_keys: What tells the panels of a figure apart.
        arm_keys: What tells the arms of a panel apart.
        metrics: What figures show, in the order of their rows: what an arm recorded.
        figures: Name of a file of conf/experiment -> what it shows.
        folder: The baseline's folder, of README.md, claims.yaml, results and published.
        page: Its page in the documentation.
        front_pages: Further pages, which show of an experiment its figure and accuracies alone.
        also_differ: Further keys in which the arms of an experiment may differ, such as num_rounds
            where one of them is a reference of a single round.
        more_parts: Turns stored results, by experiment, into further parts of the pages, by name.
            Its module should not import pandas itself.
        more_figures: Turns the panels of an experiment, and its figure with the heading that it
            has, into further figures; the same applies.
    """

    package: str
    schema: type[ExperimentConfig]
    panel_keys: type[PanelKeys]
    arm_keys: type[ArmKeys]
    metrics: tuple[Metric, ...]
    figures: Mapping[str, FigureOf]
    folder: Path
    page: Path
    front_pages: tuple[Path, ...] = ()
    also_differ: frozenset[str] = frozenset()
    more_parts: "Callable[[Mapping[str, Results]], Mapping[str, str]]" = _no_parts
    more_figures: "Callable[[Panels, FigureOf], Sequence[MoreFigure]]" = _no_figures

    @property
    def compared_keys(self) -> list[str]:
        """The keys of panels, then those of arms."""
        return [*self.panel_keys.model_fields, *self.arm_keys.model_fields]

    @property
    def command(self) -> str:
        """What makes the runs of experiments; "{experiments}" in it stands for their names."""
        return f"python -m {self.package}.reproduce {{experiments}}"

    @property
    def readme(self) -> Path:
        """The baseline's README."""
        return self.folder / "README.md"

    @property
    def claims(self) -> Path:
        """The claims that are judged by the results."""
        return self.folder / "claims.yaml"

    @property
    def results(self) -> Path:
        """The folder of stored results, and of the figures and tables that are made of them."""
        return self.folder / "results"

    @property
    def published(self) -> Path:
        """The folder of others' curves."""
        return self.folder / "published"
