"""Which failure modes the runs of a comparison show, from stored results."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from common.analysis.results import Results
from common.analysis.tables import markdown_table
from common.data.ag_news import CLASS_NAMES
from common.experiment.config import read_default_config
from common.replication.comparison import compare
from common.replication.definition import Replication
from common.replication.metrics import TEST_ACCURACY
from distilbert_failures.failure_detector import FailureDetector, FailureThresholds

# Of a record, what the detector looks at.
_OBSERVED: Final = ("test_loss", "client_train_loss", "divergence_relative")
_NUM_CLASSES: Final = len(CLASS_NAMES)
_NONE: Final = "none"


def failure_parts(replication: Replication, stored: Mapping[str, Results]) -> dict[str, str]:
    """Return, for every experiment NAME, the part "failures_NAME" of the pages.

    The detector looks at every run with the thresholds of today's defaults, whatever they were when
    it ran.

    Args:
        replication: Says what arms are called, and has the thresholds.
        stored: Results by experiment.

    Returns:
        Markdown, by part.
    """
    defaults = read_default_config(replication.folder / "pyproject.toml")["failure"]
    thresholds = FailureThresholds.model_validate(defaults)
    return {
        f"failures_{name}": _table(replication, stored[name], thresholds)
        if name in stored
        else "Not run yet: there are no stored results."
        for name in replication.figures
    }


def _table(replication: Replication, results: Results, thresholds: FailureThresholds) -> str:
    """Return how many seeds of each arm show which modes."""
    panels = compare(replication, results)
    arms = list(dict.fromkeys(arm for panel in panels.values() for arm in panel))
    rows = [
        [arm, *(_cell(panel.get(arm), thresholds) for panel in panels.values())] for arm in arms
    ]
    return markdown_table(["failure modes (seeds)", *panels], rows)


def _cell(runs: Results | None, thresholds: FailureThresholds) -> str:
    if runs is None:
        return ""
    curves = {key: runs.curves(key) for key in _OBSERVED if key in runs.metrics}
    # What a run that was stopped did not come to has no accuracy, which every round has.
    ends = np.isfinite(runs.curves(TEST_ACCURACY.name)).sum(axis=1)
    counts = Counter(
        mode
        for seed, end in enumerate(ends)
        for mode in _modes(
            {key: curve[seed, :end].tolist() for key, curve in curves.items()}, thresholds
        )
    )
    found = [f"{mode.replace('_', ' ')} ({count})" for mode, count in sorted(counts.items())]
    return ", ".join(found) or _NONE


def _modes(run: Mapping[str, Sequence[float]], thresholds: FailureThresholds) -> set[str]:
    """Return the modes that a run shows in any of its rounds."""
    detector = FailureDetector(thresholds, _NUM_CLASSES)
    rounds = zip(*run.values(), strict=True)
    records = (
        {"round": i, **dict(zip(run, values, strict=True))} for i, values in enumerate(rounds, 1)
    )
    return {failure.mode for record in records for failure in detector.observe(record)}
