"""What federation is worth: FedAvg beside anchors, from stored results."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.analysis.results import Results
from common.analysis.statistics import Estimate, estimate, last, paired_difference
from common.analysis.tables import markdown_table
from common.replication.comparison import Panels, compare
from common.replication.definition import Replication
from imagenet_resnet.compared_keys import CENTRALISED, LOCAL_ONLY, PROBE, PROBE_LAYER3, ZERO_SHOT
from imagenet_resnet.figures import FEDAVG

# Arm, what of it, and what a reader is told that it is.
_ANCHORS: Final = (
    (ZERO_SHOT, "test_accuracy", "the weights as they came, zero-shot"),
    (LOCAL_ONLY, "worst_client_test_accuracy", "local only, worst client"),
    (LOCAL_ONLY, "client_test_accuracy", "local only, mean over clients"),
    (LOCAL_ONLY, "test_accuracy", "local only, models averaged once"),
    (PROBE, "test_accuracy", "linear probe, all data in one place"),
    (PROBE_LAYER3, "test_accuracy", "linear probe on layer3, all data in one place"),
    (CENTRALISED, "test_accuracy", "centralised, all data in one place"),
)


def anchor_parts(replication: Replication, stored: Mapping[str, Results]) -> dict[str, str]:
    """Return, for every experiment NAME, the part "anchors_NAME" of the pages.

    Args:
        replication: Says what arms are called.
        stored: Results by experiment.

    Returns:
        Markdown, by part.
    """
    return {
        f"anchors_{name}": _table(compare(replication, stored[name]))
        if name in stored
        else "Not run yet: there are no stored results."
        for name in replication.figures
    }


def _table(panels: Panels) -> str:
    """Return what each anchor reaches, and by how much FedAvg is better or worse."""
    header = ["test accuracy (%)"]
    for title in panels:
        header += [title, "FedAvg has more"]
    rows = [
        [label, *(cell for arms in panels.values() for cell in _cells(arms, arm, metric))]
        for arm, metric, label in _ANCHORS
        if any(arm in arms for arms in panels.values())
    ]
    fedavg = [FEDAVG, *(cell for arms in panels.values() for cell in _cells(arms, FEDAVG))]
    return markdown_table(header, [*rows, fedavg])


def _cells(
    arms: Mapping[str, Results], name: str, metric: str = "test_accuracy"
) -> tuple[str, str]:
    """Return an arm's accuracy after its last round, and what FedAvg has more, seed by seed."""
    if name not in arms:
        return "", ""
    arm, fedavg = arms[name], arms.get(FEDAVG)
    accuracy = _percent(estimate(_last_round(arm, metric)))
    if fedavg is None or fedavg is arm or fedavg.seeds != arm.seeds:
        return accuracy, ""
    difference = paired_difference(_last_round(fedavg), _last_round(arm, metric))
    return accuracy, _percent(difference, sign="+")


def _last_round(arm: Results, metric: str = "test_accuracy") -> NDArray[np.float64]:
    return np.array([last(curve) for curve in arm.curves(metric)])


def _percent(mean: Estimate, sign: str = "") -> str:
    number = f"{100 * mean.value:{sign}.1f}"
    return number if np.isnan(mean.low) else f"{number} ± {50 * (mean.high - mean.low):.1f}"
