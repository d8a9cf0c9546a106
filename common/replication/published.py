"""The curves of others, which our figures show beside our own."""

import pandas as pd

from common.analysis.curves import Published
from common.analysis.results import Results
from common.experiment.config import read_default_config
from common.replication.definition import Replication


def published_curve(
    replication: Replication, experiment: str, metric: str, arm: Results
) -> Published | None:
    """Return what somebody published of the arm of an experiment; None if nobody did.

    A row of EXPERIMENT.csv is a round of the arm that has the values of those of its columns that
    are keys, and the baseline's defaults of those keys of arms that the file has no column for.

    Args:
        replication: Has the folder of such files, of which there are some.
        experiment: Name of a file of conf/experiment.
        metric: Number of a round.
        arm: Our runs of the arm.
    """
    file = replication.published / f"{experiment}.csv"
    if not file.exists():
        return None
    table = pd.read_csv(file)
    if metric not in table:
        return None
    defaults = read_default_config(replication.folder / "pyproject.toml")
    unsaid = {key: defaults[key] for key in replication.arm_keys.model_fields if key not in table}
    table = table.assign(**unsaid)
    keys = [key for key in table if key in arm.keys]
    same = (table[keys] == arm.runs.iloc[0][keys]).all(axis="columns") & table[metric].notna()
    if not same.any():
        return None
    return Published(table["round"][same].to_numpy(), table[metric][same].to_numpy())
