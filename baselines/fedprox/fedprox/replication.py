"""What is compared, and where it is kept: for `fedprox.reproduce` and `fedprox.report`."""

from pathlib import Path
from typing import Final

from common.replication.definition import Replication
from fedprox.compared_keys import FedProxArmKeys, FedProxPanelKeys
from fedprox.config import FedProxConfig
from fedprox.figures import FIGURES
from fedprox.metrics import METRICS

_FOLDER: Final = Path(__file__).parents[1]

REPLICATION: Final = Replication(
    package="fedprox",
    schema=FedProxConfig,
    panel_keys=FedProxPanelKeys,
    arm_keys=FedProxArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "fedprox.md",
    front_pages=(_FOLDER.parents[1] / "README.md",),
)
