"""What is compared, and where it is kept: for `pruning_afo.reproduce` and `.report`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.replication.definition import FigureOf, MoreFigure, Replication
from pruning_afo.compared_keys import PruningArmKeys, PruningPanelKeys
from pruning_afo.config import PruningConfig
from pruning_afo.figures import FIGURES
from pruning_afo.metrics import METRICS

if TYPE_CHECKING:
    from common.analysis.results import Results
    from common.replication.comparison import Panels

_FOLDER: Final = Path(__file__).parents[1]


def _more_parts(stored: "Mapping[str, Results]") -> Mapping[str, str]:
    from pruning_afo.bandwidth import bandwidth_parts  # Here, for pandas takes seconds.
    from pruning_afo.compression_table import compression_parts

    return bandwidth_parts(REPLICATION, stored) | compression_parts(REPLICATION.results)


def _more_figures(panels: "Panels", figure: FigureOf) -> Sequence[MoreFigure]:
    from pruning_afo.bandwidth_figures import bandwidth_figures

    return bandwidth_figures(panels, figure)


REPLICATION: Final = Replication(
    package="pruning_afo",
    schema=PruningConfig,
    panel_keys=PruningPanelKeys,
    arm_keys=PruningArmKeys,
    metrics=METRICS,
    figures=FIGURES,
    folder=_FOLDER,
    page=_FOLDER.parents[1] / "docs" / "pruning_afo.md",
    # Server optimisers are compared with the rates that each was tuned to, and a centralised run
    # has one client a round; PruneFL and FedDST begin with a pruned model.
    also_differ=frozenset(
        {"server_learning_rate", "beta_1", "tau", "clients_per_round", "pruning_start"}
    ),
    more_parts=_more_parts,
    more_figures=_more_figures,
)
