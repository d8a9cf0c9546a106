"""What is compared, and where it is kept: for `distilbert_failures.reproduce` and `.report`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.replication.definition import Replication
from distilbert_failures.compared_keys import DistilBertArmKeys, DistilBertPanelKeys
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.figures import FIGURES
from distilbert_failures.metrics import METRICS

if TYPE_CHECKING:
    from common.analysis.results import Results

_FOLDER: Final = Path(__file__).parents[1]


def _more_parts(stored: "Mapping[str, Results]") -> Mapping[str, str]:
    from distilbert_failures.failure_table import failure_parts  # Here, for pandas takes seconds.

    return failure_parts(REPLICATION, stored)


REPLICATION: Final = Replication(
    package="distilbert_failures",
    schema=DistilBertConfig,
    panel_keys=DistilBertPanelKeys,
    arm_keys=DistilBertArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "distilbert_failures.md",
    # All clients take part in a round, however many there are.
    also_differ=frozenset({"clients_per_round"}),
    more_parts=_more_parts,
)
