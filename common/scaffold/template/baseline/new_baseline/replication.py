"""What is compared, and where it is kept: for the modules reproduce and report."""

from pathlib import Path
from typing import Final

from common.replication.definition import Replication
from common.replication.metrics import TEST_ACCURACY, TRAIN_LOSS
from new_baseline.compared_keys import NewBaselineArmKeys, NewBaselinePanelKeys
from new_baseline.config import NewBaselineConfig
from new_baseline.figures import FIGURES

_FOLDER: Final = Path(__file__).parents[1]

REPLICATION: Final = Replication(
    package="new_baseline",
    schema=NewBaselineConfig,
    panel_keys=NewBaselinePanelKeys,
    arm_keys=NewBaselineArmKeys,
    metrics=(TRAIN_LOSS, TEST_ACCURACY),
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "new_baseline.md",
)
