"""The audit: what a paper claims -> what the stored runs say, and a verdict.

A baseline lists the claims in its claims.yaml; each says how a number is computed from stored runs,
seed by seed, and by which rule that number is judged. No verdict is written by hand.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from scipy import stats

from common.analysis import statistics
from common.analysis.results import Results
from common.analysis.statistics import Curve, Estimate, estimate
from common.durable import write_atomically
from common.errors import UserInputError
from common.experiment.config import Scalar
from common.shown import shown, shown_key

Verdict = Literal["reproduced", "partly", "not_reproduced", "untestable_here"]
# Loads the stored results of an experiment by its name; None if there are none.
Load = Callable[[str], Results | None]
# One number for every seed, in the order of seeds, which are the index.
BySeed: TypeAlias = "pd.Series[float]"

_IN_WORDS: Final[dict[Verdict, str]] = {
    "reproduced": "reproduced",
    "partly": "partly reproduced",
    "not_reproduced": "not reproduced",
    "untestable_here": "could not be tested here",
}
# Statistics that need a curve and nothing else.
_OF_CURVE: Final[dict[str, Callable[[Curve], float]]] = {
    "tail_mean": statistics.tail_mean,
    "best": statistics.best,
    "last": statistics.last,
}
# What a quantity is multiplied by to be shown in its unit.
_SCALES: Final = {"": 1, "%": 100, "points": 100, "rounds": 1, "nats": 1}
_NOTHING: Final = "—"
# What pydantic says -> what follows "it must be".
_RULES: Final = {
    "a valid i": "an i",
    "a valid dictionary": "a table",
    "a valid ": "a ",
    "List should have": "a list with",
    "String should have": "a text with",
    " after validation": "",
}


def _require_scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("it must be a text, a number or a truth value")
    return value


Number = Annotated[float, Field(allow_inf_nan=False)]
Experiment = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Arm = dict[str, Annotated[Scalar, BeforeValidator(_require_scalar)]]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ArmOfExperiment(_Strict):
    """An arm of a comparison: the runs of an experiment that have these keys."""

    experiment: Experiment
    arm: Arm


class Contrast(ArmOfExperiment):
    """An arm, or what it has more than another of the same experiment."""

    minus: Arm | None = None


class Contrasts(_Strict):
    """A statistic of learning curves, seed by seed the mean over some arms or differences.

    Attributes:
        statistic: See :mod:`common.analysis.statistics`.
        metric: Number of a round.
        target: Of ``rounds_to_target``.
        contrasts: What to average.
    """

    statistic: Literal["tail_mean", "at_convergence", "rounds_to_target", "best", "last"]
    metric: str
    target: Number | None = None
    contrasts: Annotated[list[Contrast], Field(min_length=1)]

    @model_validator(mode="after")
    def _target_fits_statistic(self) -> Self:
        if (self.statistic == "rounds_to_target") != (self.target is not None):
            raise ValueError(
                f"target={self.target} is not allowed with statistic={self.statistic!r}: it must "
                "be a number with rounds_to_target, and not given with others."
            )
        return self

    @model_validator(mode="after")
    def _best_is_highest(self) -> Self:
        if self.statistic in ("rounds_to_target", "best") and self.metric.endswith("loss"):
            raise ValueError(
                f"metric={shown(self.metric)} is not allowed with statistic={self.statistic!r}: "
                "it must be one of which more is better."
            )
        return self

    @property
    def experiments(self) -> list[str]:
        """The experiments whose results are needed, in order."""
        return list(dict.fromkeys(contrast.experiment for contrast in self.contrasts))

    def by_seed(self, results: Mapping[str, Results]) -> NDArray[np.float64]:
        """Return the quantity for every seed, shape [seeds].

        Raises:
            UserInputError: There is no such arm or metric, or arms differ in their seeds.
        """
        differences = [self._difference(c, results[c.experiment]) for c in self.contrasts]
        mean: NDArray[np.float64] = _paired(differences).mean(axis=0)
        return mean

    def _difference(self, contrast: Contrast, results: Results) -> BySeed:
        value = self._of(results.arm(contrast.arm))
        if contrast.minus is None:
            return value
        a, b = _paired([value, self._of(results.arm(contrast.minus))])
        return pd.Series(a - b, index=value.index)

    def _of(self, arm: Results) -> BySeed:
        return _statistic_of_arm(arm, self.statistic, self.metric, self.target)


class Correlation(_Strict):
    """Spearman's rank correlation of two metrics' statistics over arms, seed by seed.

    Attributes:
        correlate: The two metrics.
        statistic: See :mod:`common.analysis.statistics`.
        arms: Over what to correlate; that of two arms would always be 1 or -1.
    """

    correlate: Annotated[list[str], Field(min_length=2, max_length=2)]
    statistic: Literal["tail_mean", "at_convergence", "best", "last"]
    arms: Annotated[list[ArmOfExperiment], Field(min_length=3)]

    @property
    def experiments(self) -> list[str]:
        """The experiments whose results are needed, in order."""
        return list(dict.fromkeys(arm.experiment for arm in self.arms))

    def by_seed(self, results: Mapping[str, Results]) -> NDArray[np.float64]:
        """Return the correlation for every seed, shape [seeds]; NaN if a metric is constant.

        Raises:
            UserInputError: There is no such arm or metric, or arms differ in their seeds.
        """
        arms = [results[arm.experiment].arm(arm.arm) for arm in self.arms]
        first, second = (
            _paired([_statistic_of_arm(arm, self.statistic, metric) for arm in arms])
            for metric in self.correlate
        )
        return np.array([_rank_correlation(a, b) for a, b in zip(first.T, second.T, strict=True)])


class Rule(_Strict):
    """Where a quantity must be for its claim to be reproduced: exactly one of four.

    Attributes:
        above: Above this.
        below: Below this.
        within: No further than this from the claim's reference.
        between: From the first to the second.
    """

    above: Number | None = None
    below: Number | None = None
    within: Annotated[Number, Field(ge=0)] | None = None
    between: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = sorted(self.model_fields_set)
        if len(given) != 1 or getattr(self, given[0]) is None:
            raise ValueError(
                f"rule with {', '.join(given) or 'nothing'} is not allowed: it must have exactly "
                "one of above, below, within and between, with its value."
            )
        if self.between and self.between[0] > self.between[1]:
            raise ValueError(
                f"between={self.between} is not allowed: it must be the lower number, then the "
                "higher."
            )
        return self

    def bounds(self, reference: float | None) -> tuple[float, float]:
        """Return the lowest and the highest value that reproduces a claim."""
        if self.within is not None and reference is not None:
            return reference - self.within, reference + self.within
        if self.between is not None:
            return self.between[0], self.between[1]
        low = -math.inf if self.above is None else self.above
        return low, math.inf if self.below is None else self.below

    def verdict(self, measured: Estimate, reference: float | None) -> Verdict:
        """Return what a measured quantity says.

        Above or below a bound, a claim is reproduced if all of the interval is, and partly if the
        mean is. For a range, it is reproduced if all of the interval lies in it, and partly if some
        of it does. One seed has no interval: its value counts as some of it.
        """
        value, low, high = measured.value, measured.low, measured.high
        if not math.isfinite(value):
            return "not_reproduced"
        lowest, highest = self.bounds(reference)
        if self.above is not None or self.below is not None:
            entirely, partly = lowest < low and high < highest, lowest < value < highest
        else:
            entirely = lowest <= low and high <= highest
            some_low, some_high = (value, value) if measured.n == 1 else (low, high)
            partly = some_low <= highest and some_high >= lowest
        return "reproduced" if entirely else "partly" if partly else "not_reproduced"


def _kind_of_quantity(value: object) -> str:
    return "correlation" if isinstance(value, Mapping) and "correlate" in value else "contrasts"


# Tags appear in the place of an error: parentheses tell them from keys.
Quantity = Annotated[
    Annotated[Contrasts, Tag("(contrasts)")] | Annotated[Correlation, Tag("(correlation)")],
    Discriminator(lambda value: f"({_kind_of_quantity(value)})"),
]


class Claim(_Strict):
    """What somebody claims, and how it is tested.

    Attributes:
        id: Name of the claim, in kebab-case.
        source: Who says it, and where.
        statement: What is said.
        quantity: A number for every seed, from stored runs.
        reference: What the source says the number is, in the same unit as the runs: 0.22, not 22.
        rule: When the claim is reproduced.
        unit: What the number is shown in; % and points show 0.22 as 22.
        remark: What was wrong with the claim, or differs here.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    source: Annotated[str, Field(min_length=1)]
    statement: Annotated[str, Field(min_length=1)]
    quantity: Quantity
    reference: Number | None = None
    rule: Rule
    unit: Literal["", "%", "points", "rounds", "nats"] = ""
    remark: str = ""

    @model_validator(mode="after")
    def _within_has_reference(self) -> Self:
        if self.rule.within is not None and self.reference is None:
            raise ValueError(
                f"rule.within={self.rule.within} is not allowed without reference: it must be a "
                "distance from it."
            )
        return self


@dataclass(frozen=True)
class Finding:
    """What stored runs say about a claim.

    Attributes:
        claim: The claim.
        measured: Its quantity, over seeds; None if there are no runs to compute it from.
        verdict: By the claim's rule.
        command: What makes the runs again.
    """

    claim: Claim
    measured: Estimate | None
    verdict: Verdict
    command: str


def load_claims(path: Path) -> list[Claim]:
    """Read a claims.yaml.

    Raises:
        UserInputError: It cannot be read, or a claim is not one, or two have the same id.
    """
    try:
        items = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(items, list) or not items:
            raise TypeError
    except Exception as error:  # PyYAML raises half a dozen types beside its own.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserInputError(
            f"{str(path)!r} is not allowed: it must be a YAML list of claims ({reason})."
        ) from None
    claims = [_parse(item, number) for number, item in enumerate(items, 1)]
    ids = [claim.id for claim in claims]
    for claim_id in ids:
        if ids.count(claim_id) > 1:
            raise UserInputError(
                f"claim {claim_id!r}: id={claim_id!r} is not allowed twice: it must be unique."
            )
    return claims


def judge(claim: Claim, load: Load, command: str) -> Finding:
    """Compute a claim's quantity from stored runs, and judge it.

    Args:
        claim: The claim.
        load: Loads the results of an experiment.
        command: What makes the runs; "{experiments}" in it stands for the claim's experiments.

    Raises:
        UserInputError: The results have no such arm or metric, or arms differ in their seeds.
    """
    experiments = claim.quantity.experiments
    command = command.replace("{experiments}", " ".join(experiments))
    results = {name: stored for name in experiments if (stored := load(name)) is not None}
    if len(results) < len(experiments):
        return Finding(claim, None, "untestable_here", command)
    try:
        with np.errstate(invalid="ignore"):  # inf - inf, of arms that never reach a target, is NaN.
            measured = estimate(claim.quantity.by_seed(results))
    except UserInputError as error:
        raise UserInputError(f"claim {claim.id!r}: {error}") from None
    return Finding(claim, measured, claim.rule.verdict(measured, claim.reference), command)


def audit(claims: Sequence[Claim], load: Load, command: str) -> list[Finding]:
    """Judge every claim, see :func:`judge`; an experiment is loaded once.

    Raises:
        UserInputError: As :func:`judge`.
    """
    load_once = cache(load)
    return [judge(claim, load_once, command) for claim in claims]


def write_claims_json(findings: Sequence[Finding], path: Path) -> None:
    """Write what was found, for programs: numbers as measured, not in the unit they are shown in.

    Raises:
        StorageError: The file could not be written.
    """
    records = [_record(finding) for finding in findings]
    text = json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def audit_markdown(findings: Sequence[Finding]) -> str:
    """Return what was found, for readers: a table of all claims, then a section for each."""
    header = ["claim", "statement", "measured", "reference", "verdict"]
    lines = [_row(header), "|---|---|--:|--:|---|"]
    for finding in findings:
        claim = finding.claim
        figures = [_measured(finding), _reference(claim)]
        lines.append(_row([f"`{claim.id}`", claim.statement, *figures, _IN_WORDS[finding.verdict]]))
    return "\n\n".join(["\n".join(lines), *map(_section, findings)]) + "\n"


def _parse(item: object, number: int) -> Claim:
    claim_id = item.get("id") if isinstance(item, dict) else None
    name = f"claim {shown(claim_id)}" if isinstance(claim_id, str) else f"claim number {number}"
    try:
        return Claim.model_validate(item)
    except ValidationError as error:
        raise UserInputError(f"{name}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """Say the first problem of a claim in one sentence."""
    problem = error.errors()[0]
    places = [str(place) for place in problem["loc"]]
    key = shown_key(".".join(place for place in places if not place.startswith("(")) or "claim")
    if problem["type"] == "missing":
        return f"{key} is missing: it must be given."
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a key of a claim: it must be left out."
    rule = problem["msg"].removeprefix("Input should be ").partition(" or instance of")[0]
    for pydantics, ours in _RULES.items():
        rule = rule.replace(pydantics, ours)
    rule = f"it must be {rule}"
    if problem["type"] == "value_error":
        rule = str(problem["ctx"]["error"])
        if rule.endswith("."):  # A whole sentence, of several keys.
            return rule
    if problem["type"] == "string_pattern_mismatch":
        rule = f"it must be of the form {problem['ctx']['pattern']}"
    return f"{key}={shown(problem['input'])} is not allowed: {rule}."


def _statistic_of_arm(
    arm: Results, statistic: str, metric: str, target: float | None = None
) -> BySeed:
    curves = _curves(arm, metric)
    if target is not None:
        values = [statistics.rounds_to_target(curve, target) for curve in curves]
    elif statistic == "at_convergence":
        pairs = zip(curves, _curves(arm, "train_loss"), strict=True)
        values = [statistics.at_convergence(curve, loss) for curve, loss in pairs]
    else:
        values = [_OF_CURVE[statistic](curve) for curve in curves]
    return pd.Series(values, index=arm.seeds)


def _curves(arm: Results, metric: str) -> NDArray[np.float64]:
    """Return an arm's curves, shape [seeds, rounds]; refuse those that were not recorded."""
    curves = arm.curves(metric)
    unknown = np.isnan(curves).all(axis=1)
    if unknown.any():
        # A verdict on it would be one on what was not measured.
        raise UserInputError(
            f"metric={metric!r} of seed {arm.seeds[int(np.argmax(unknown))]} is not allowed: it "
            "must have a number in at least one round."
        )
    return curves


def _paired(arms: Sequence[BySeed]) -> NDArray[np.float64]:
    """Return values of several arms, shape [arms, seeds]; refuse arms of different seeds."""
    for arm in arms:
        if not arm.index.equals(arms[0].index):
            raise UserInputError(
                f"arms of seeds {shown(arms[0].index.tolist())} and {shown(arm.index.tolist())} "
                "are not allowed together: all must have the same seeds."
            )
    return np.stack([arm.to_numpy(dtype=np.float64) for arm in arms])


def _rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # Scipy warns of constants.
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(stats.spearmanr(a, b).statistic)


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


def _section(finding: Finding) -> str:
    claim, measured = finding.claim, finding.measured
    seeds = f" ({measured.n} seed{'s' * (measured.n > 1)})" if measured else ""
    items = [
        f"- **Source:** {claim.source}",
        f"- **Measured:** {_measured(finding)}{seeds}",
        f"- **Reference:** {_reference(claim)}",
        f"- **Verdict:** {_IN_WORDS[finding.verdict]}; the rule is: {_rule(claim)}",
        f"- **Command:** `{finding.command}`",
    ]
    remark = [claim.remark.strip()] if claim.remark.strip() else []
    return "\n\n".join([f"### {claim.id}", claim.statement.strip(), "\n".join(items), *remark])


def _measured(finding: Finding) -> str:
    """Return value and interval in the claim's unit, such as "6.35 [5.12, 7.58] points"."""
    measured, scale = finding.measured, _SCALES[finding.claim.unit]
    if measured is None or not math.isfinite(measured.value):
        return _NOTHING
    interval = ""
    if math.isfinite(measured.low):
        interval = f" [{_figure(scale * measured.low)}, {_figure(scale * measured.high)}]"
    return f"{_figure(scale * measured.value)}{interval} {finding.claim.unit}".rstrip()


def _reference(claim: Claim) -> str:
    return _NOTHING if claim.reference is None else _in_unit(claim, claim.reference)


def _rule(claim: Claim) -> str:
    rule = claim.rule
    if rule.above is not None:
        return f"above {_in_unit(claim, rule.above)}"
    if rule.below is not None:
        return f"below {_in_unit(claim, rule.below)}"
    low, high = rule.bounds(claim.reference)
    return f"from {_in_unit(claim, low)} to {_in_unit(claim, high)}"


def _in_unit(claim: Claim, number: float) -> str:
    """Return a number of claims.yaml as it was given, in the claim's unit."""
    return f"{_SCALES[claim.unit] * number:.10g} {claim.unit}".rstrip()


def _figure(number: float) -> str:
    """Return a measured number with three digits, or all before the point."""
    return f"{number:,.0f}" if abs(number) >= 99.95 else f"{number:#.3g}"


def _row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    texts = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
