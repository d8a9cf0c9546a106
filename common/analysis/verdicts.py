"""The audit: what others claim -> what the stored runs say, and a verdict."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from common.analysis.claims import Claim, Rule
from common.analysis.results import Results
from common.analysis.statistics import Estimate, estimate, prediction_interval
from common.durable import write_atomically
from common.errors import UserInputError

Verdict = Literal["reproduced", "partly", "not_reproduced", "untestable_here"]
# Loads the stored results of an experiment by its name; None if there are none.
Load = Callable[[str], Results | None]

# Fewer seeds reproduce partly at best: an interval of so few is hardly one.
MIN_SEEDS: Final = 5


@dataclass(frozen=True, eq=False)
class Finding:
    """What stored runs say about a claim.

    Attributes:
        claim: The claim.
        values: Its quantity for every seed, shape [seeds]; None if there are no runs to compute it
            from.
        verdict: By the claim's rule.
        command: What makes the runs again.
    """

    claim: Claim
    values: NDArray[np.float64] | None
    verdict: Verdict
    command: str

    @property
    def measured(self) -> Estimate | None:
        """The quantity's mean over seeds; None as ``values``."""
        return None if self.values is None else estimate(self.values)


def audit(claims: Sequence[Claim], load: Load, command: str) -> list[Finding]:
    """Judge every claim, see :func:`judge`; an experiment is loaded once.

    Args:
        claims: The claims.
        load: As for :func:`judge`.
        command: As for :func:`judge`.

    Returns:
        A finding of each claim, in their order.

    Raises:
        UserInputError: As :func:`judge`.
    """
    load_once = cache(load)
    return [judge(claim, load_once, command) for claim in claims]


def judge(claim: Claim, load: Load, command: str) -> Finding:
    """Compute a claim's quantity from stored runs, and judge it.

    Arms with different seeds are paired over the seeds that all of the claim's arms have.

    Args:
        claim: The claim.
        load: Loads the results of an experiment.
        command: What makes the runs; "{experiments}" in it stands for the claim's experiments.

    Returns:
        The claim's number and its verdict; "untestable_here" where results are missing.

    Raises:
        UserInputError: The results have no such arm or metric, or arms have no seed in common.
    """
    experiments = claim.experiments
    command = command.replace("{experiments}", " ".join(experiments))
    results = {name: stored for name in experiments if (stored := load(name)) is not None}
    if len(results) < len(experiments):
        return Finding(claim, None, "untestable_here", command)
    try:
        with np.errstate(invalid="ignore"):  # inf - inf, of arms that never reach a target, is NaN.
            values = claim.quantity.by_seed(results)
    except UserInputError as error:
        raise UserInputError(f"claim {claim.id!r}: {error}") from None
    return Finding(claim, values, give_verdict(claim.rule, claim.reference, values), command)


def give_verdict(rule: Rule, reference: float | None, values: NDArray[np.float64]) -> Verdict:
    """Return what a measured quantity says.

    Above or below a bound, or in a range, a claim is reproduced if all of the mean's interval is,
    and partly if the mean is. Among seeds, it is reproduced if the reference is from the lowest to
    the highest, and partly if it is where one further seed may lie, see
    :func:`common.analysis.statistics.prediction_interval`. What fewer than five seeds reproduce,
    they reproduce partly.

    Args:
        rule: Where the quantity must be.
        reference: What the source says it is.
        values: The quantity for every seed, shape [seeds].
    """
    if not np.isfinite(values).all():
        return "not_reproduced"
    if rule.among_seeds and reference is not None:
        entirely, partly = _among(values, reference)
    else:
        entirely, partly = _in_bounds(rule, reference, estimate(values))
    if entirely and len(values) >= MIN_SEEDS:
        return "reproduced"
    return "partly" if entirely or partly else "not_reproduced"


def write_claims_json(findings: Sequence[Finding], path: Path) -> None:
    """Write what was found, for programs: numbers as measured, not in the unit they are shown in.

    Raises:
        StorageError: The file could not be written.
    """
    records = [_record(finding) for finding in findings]
    text = json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def _among(values: NDArray[np.float64], reference: float) -> tuple[bool, bool]:
    """Return whether a reference is among the seeds, and whether it may be that of another."""
    low, high = prediction_interval(values)
    return bool(values.min() <= reference <= values.max()), low <= reference <= high


def _in_bounds(rule: Rule, reference: float | None, measured: Estimate) -> tuple[bool, bool]:
    """Return whether all of an interval obeys a rule, and whether its mean does."""
    lowest, highest = rule.bounds(reference)
    value, low, high = measured.value, measured.low, measured.high
    if rule.above is not None or rule.below is not None:  # A bound itself is not above it.
        return lowest < low and high < highest, lowest < value < highest
    return lowest <= low and high <= highest, lowest <= value <= highest


def _record(finding: Finding) -> dict[str, Any]:
    claim, measured = finding.claim, finding.measured
    numbers = (measured.value, measured.low, measured.high) if measured else (None, None, None)
    value, low, high = map(_rounded, numbers)
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "verdict": finding.verdict,
        "value": value,
        "low": low,
        "high": high,
        "reference": _rounded(claim.reference),
        "command": finding.command,
    }


def _rounded(number: float | None) -> float | None:
    """Return a number with six significant digits, None if it is not finite."""
    if number is None or not math.isfinite(number):
        return None
    return float(f"{number:.6g}") + 0.0  # Which makes -0.0 one 0.0.
