"""What is compared, and where it is kept: for `distilbert_failures.reproduce` and `.report`."""

from pathlib import Path
from typing import Final

from common.replication.definition import Replication
from distilbert_failures.compared_keys import DistilBertArmKeys, DistilBertPanelKeys
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.figures import FIGURES
from distilbert_failures.metrics import METRICS

_FOLDER: Final = Path(__file__).parents[1]

REPLICATION: Final = Replication(
    package="distilbert_failures",
    schema=DistilBertConfig,
    panel_keys=DistilBertPanelKeys,
    arm_keys=DistilBertArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "distilbert_failures.md",
    # All clients take part in a round, however many there are; ten make as many steps as five in
    # twice the rounds.
    also_differ=frozenset({"clients_per_round", "num_rounds"}),
)
