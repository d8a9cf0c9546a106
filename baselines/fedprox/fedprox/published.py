"""The curves of others, which our figures show beside our own."""

import pandas as pd

from common.analysis.curves import Published
from common.analysis.results import Results
from fedprox.stored import PUBLISHED


def published_curve(experiment: str, metric: str, arm: Results) -> Published | None:
    """Return what somebody published of the arm of an experiment; None if nobody did.

    Args:
        experiment: Name of a file of conf/experiment.
        metric: Number of a round.
        arm: Our runs of the arm.
    """
    file = PUBLISHED / f"{experiment}.csv"
    if not file.exists():
        return None
    table = pd.read_csv(file)
    run = arm.runs.iloc[0]
    if metric not in table or run["adaptive_mu"]:
        return None
    keys = [key for key in table if key in arm.keys]
    same = (table[keys] == run[keys]).all(axis="columns") & table[metric].notna()
    if not same.any():
        return None
    return Published(table["round"][same].to_numpy(), table[metric][same].to_numpy())
