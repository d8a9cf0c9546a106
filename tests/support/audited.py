"""Claims, and results that nobody measured, for tests of the audit."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from common.analysis.claims import Claim
from common.analysis.results import PROVENANCE, Results
from common.analysis.verdicts import Finding, judge

COMMAND = "python -m baseline.reproduce {experiments}"
PROX, AVG = {"algorithm": "fedprox"}, {"algorithm": "fedavg"}

Arms = Mapping[str, Sequence[Sequence[float]]]


def make_results(
    arms: Arms,
    metric: str = "test_accuracy",
    seeds: Mapping[str, Sequence[int]] | None = None,
    **more: Arms,
) -> Results:
    """Return the results of some arms.

    Args:
        arms: Algorithm -> a curve for every seed.
        metric: What the curves are of.
        seeds: Algorithm -> its seeds, which are 0, 1, ... otherwise.
        more: Other metrics of the same arms.
    """
    runs, rounds = [], []
    for algorithm, curves in arms.items():
        for i, curve in enumerate(curves):
            seed, run = (seeds or {}).get(algorithm, range(len(curves)))[i], len(runs)
            runs.append({"algorithm": algorithm, "seed": seed, **dict.fromkeys(PROVENANCE)})
            for j, value in enumerate(curve):
                others = {name: arm[algorithm][i][j] for name, arm in more.items()}
                rounds.append({"run": run, "round": j + 1, metric: value, **others})
    return Results(pd.DataFrame(runs).rename_axis("run"), pd.DataFrame(rounds))


def make_claim(rule: Mapping[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return a claim as claims.yaml has it; None removes a key of its quantity."""
    quantity = {
        "statistic": "tail_mean",
        "metric": "test_accuracy",
        "contrasts": [{"experiment": "figure1", "arm": PROX, "minus": AVG}],
    }
    quantity |= changed.pop("quantity", {})
    claim = {
        "id": "prox-above-avg",
        "source": "Li et al. 2020, figure 7",
        "statement": "FedProx is more accurate.",
        "quantity": {key: value for key, value in quantity.items() if value is not None},
        "rule": rule or {"above": 0},
    }
    return claim | changed


def find(claim: Mapping[str, Any], **results: Results) -> Finding:
    """Judge a claim by the results of some experiments."""
    return judge(Claim.model_validate(claim), results.get, COMMAND)
