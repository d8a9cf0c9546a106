"""What is compared, and where it is kept: for `imagenet_resnet.reproduce` and `.report`."""

from pathlib import Path
from typing import Final

from common.replication.definition import Replication
from imagenet_resnet.compared_keys import ImageNetArmKeys, ImageNetPanelKeys
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.figures import FIGURES
from imagenet_resnet.metrics import METRICS

_FOLDER: Final = Path(__file__).parents[1]

REPLICATION: Final = Replication(
    package="imagenet_resnet",
    schema=ImageNetConfig,
    panel_keys=ImageNetPanelKeys,
    arm_keys=ImageNetArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "imagenet_resnet.md",
    # An anchor of one client has one a round, and those that never meet are evaluated.
    also_differ=frozenset({"clients_per_round", "evaluate_clients", "evaluate_train_loss"}),
)
