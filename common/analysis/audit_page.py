"""The audit as Markdown, for readers: see :mod:`common.analysis.verdicts`."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.analysis.claims import Claim
from common.analysis.quantities import Contrasts
from common.analysis.statistics import prediction_interval
from common.analysis.tables import markdown_table
from common.analysis.verdicts import MIN_SEEDS, Finding, Verdict

VERDICTS: Final[dict[Verdict, str]] = {
    "reproduced": "reproduced",
    "partly": "partly reproduced",
    "not_reproduced": "not reproduced",
    "untestable_here": "could not be tested here",
}
# What a quantity is multiplied by to be shown in its unit.
_SCALES: Final = {"": 1, "%": 100, "points": 100, "rounds": 1, "nats": 1}
_NOTHING: Final = "—"


class JudgedClaim(NamedTuple):
    """A claim and what was found, in words.

    Attributes:
        id: Name of the claim; a page's section of it has this heading.
        source: Who says it, and where.
        statement: What is said.
        verdict: In words.
        measured: Mean, interval and seeds, in the claim's unit.
        reference: What the source says the number is.
    """

    id: str
    source: str
    statement: str
    verdict: str
    measured: str
    reference: str


def in_words(findings: Sequence[Finding]) -> list[JudgedClaim]:
    """Return what a table of claims tells of each."""
    return [
        JudgedClaim(
            finding.claim.id,
            finding.claim.source,
            finding.claim.statement.strip(),
            VERDICTS[finding.verdict],
            f"{_measured(finding)}{_range(finding)}",
            _reference(finding.claim),
        )
        for finding in findings
    ]


def audit_markdown(findings: Sequence[Finding]) -> str:
    """Return what was found: how often, a table of all claims, then a section for each."""
    header = ["claim", "verdict", "measured", "reference"]
    rows = [
        [f"[{claim.id}](#{claim.id})", claim.verdict, claim.measured, claim.reference]
        for claim in in_words(findings)
    ]
    table = markdown_table(header, rows, left=(0, 1))
    return "\n\n".join([f"Of {count_verdicts(findings)}.", table, *map(_section, findings)]) + "\n"


def count_verdicts(findings: Sequence[Finding]) -> str:
    """Return how many claims have each verdict, such as "2 claims: 1 reproduced, ..."."""
    counts = Counter(finding.verdict for finding in findings)
    told = [f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict]]
    return f"{len(findings)} claim{'s' * (len(findings) != 1)}: {', '.join(told)}"


def _section(finding: Finding) -> str:
    claim = finding.claim
    items = [
        f"- **Source:** {claim.source}",
        f"- **Measured:** {_measured(finding)}{_seeds(finding)}",
        f"- **Reference:** {_reference(claim)}",
        f"- **Verdict:** {VERDICTS[finding.verdict]}; the rule is: {_rule(finding)}",
        f"- **Command:** `{finding.command}`",
    ]
    remark = [claim.remark.strip()] if claim.remark.strip() else []
    return "\n\n".join([f"### {claim.id}", claim.statement.strip(), "\n".join(items), *remark])


def _measured(finding: Finding) -> str:
    """Return mean, interval and seeds, such as "6.35 [5.12, 7.58] points (n = 10)"."""
    claim, measured = finding.claim, finding.measured
    if finding.values is None or measured is None:
        return _NOTHING
    if not np.isfinite(finding.values).all():
        return _without_mean(claim, finding.values)
    interval = ""
    if measured.n > 1:
        interval = f" [{_figure(claim, measured.low)}, {_figure(claim, measured.high)}]"
    figures = f"{_figure(claim, measured.value)}{interval} {claim.unit}".rstrip()
    return f"{figures} (n = {measured.n})"


def _without_mean(claim: Claim, values: NDArray[np.float64]) -> str:
    """Say what is known of numbers, shape [seeds], that are not all finite."""
    n, finite = len(values), int(np.isfinite(values).sum())
    if not isinstance(claim.quantity, Contrasts) or claim.quantity.target is None:
        return f"{_NOTHING} (n = {n})"
    text = f"not reached by {n - finite} of {n} seed{'s' * (n > 1)}"
    # NaN, where neither of two arms reached the target, has no place in an order.
    if 2 * finite <= n or np.isnan(values).any():
        return text
    return f"{text}; the median is {_measured_in_unit(claim, float(np.median(values)))}"


def _range(finding: Finding) -> str:
    """Say between which numbers the seeds lie, where the verdict depends on that."""
    claim, values = finding.claim, finding.values
    if values is None or not claim.rule.among_seeds or not np.isfinite(values).all():
        return ""
    low, high = (_measured_in_unit(claim, float(end)) for end in (values.min(), values.max()))
    return f"; the seeds are from {low} to {high}"


def _seeds(finding: Finding) -> str:
    """Say that, and where one more seed would lie."""
    claim, values, text = finding.claim, finding.values, _range(finding)
    if values is None or not text or len(values) == 1:
        return text
    low, high = (_measured_in_unit(claim, end) for end in prediction_interval(values))
    return f"{text}, and one more would be from {low} to {high}"


def _reference(claim: Claim) -> str:
    return _NOTHING if claim.reference is None else _in_unit(claim, claim.reference)


def _rule(finding: Finding) -> str:
    few = ""
    if finding.values is not None and len(finding.values) < MIN_SEEDS:
        few = f", and by fewer than {MIN_SEEDS} seeds partly at best"
    return _rule_in_words(finding.claim) + few


def _rule_in_words(claim: Claim) -> str:
    rule = claim.rule
    if rule.above is not None:
        return f"above {_in_unit(claim, rule.above)}"
    if rule.below is not None:
        return f"below {_in_unit(claim, rule.below)}"
    if rule.among_seeds:
        return "the reference, of one run, is among the seeds"
    low, high = rule.bounds(claim.reference)
    return f"from {_in_unit(claim, low)} to {_in_unit(claim, high)}"


def _in_unit(claim: Claim, number: float) -> str:
    """Return a number of claims.yaml as it was given, in the claim's unit."""
    return f"{_SCALES[claim.unit] * number:.10g} {claim.unit}".rstrip()


def _measured_in_unit(claim: Claim, number: float) -> str:
    return f"{_figure(claim, number)} {claim.unit}".rstrip()


def _figure(claim: Claim, measured: float) -> str:
    """Return a measured number on its unit's scale: three digits, or all before the point."""
    number = _SCALES[claim.unit] * measured
    return f"{number:,.0f}" if abs(number) >= 99.95 else f"{number:#.3g}"
