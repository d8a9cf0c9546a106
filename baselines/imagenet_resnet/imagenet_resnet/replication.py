"""What is compared, and where it is kept: for `imagenet_resnet.reproduce` and `.report`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.replication.definition import Replication
from imagenet_resnet.compared_keys import ImageNetArmKeys, ImageNetPanelKeys
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.figures import FIGURES
from imagenet_resnet.metrics import METRICS

if TYPE_CHECKING:
    from common.analysis.results import Results

_FOLDER: Final = Path(__file__).parents[1]


def _more_parts(stored: "Mapping[str, Results]") -> Mapping[str, str]:
    from imagenet_resnet.anchors import anchor_parts  # Here, for pandas takes seconds.

    return anchor_parts(REPLICATION, stored)


REPLICATION: Final = Replication(
    package="imagenet_resnet",
    schema=ImageNetConfig,
    panel_keys=ImageNetPanelKeys,
    arm_keys=ImageNetArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "imagenet_resnet.md",
    # An anchor of one client has one a round; adaptive mu follows the training loss.
    also_differ=frozenset({"clients_per_round", "evaluate_train_loss"}),
    more_parts=_more_parts,
)
