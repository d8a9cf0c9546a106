"""The audit of claims in the paper, with the words and numbers of the README's."""

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from common.analysis.audit_page import audit_markdown
from common.analysis.verdicts import Finding
from distilbert_failures.paper_latex import floating, prose, tabular

# A table cannot go on at the next page: so many claims fill most of one.
_MOST_CLAIMS: Final = 24
_COLUMNS: Final = r"rp{0.42\textwidth}p{0.13\textwidth}p{0.22\textwidth}p{0.09\textwidth}"


class Audit(NamedTuple):
    """Parts of the paper.

    Attributes:
        counts: How many claims got which verdict, in a sentence.
        tables: A row for each claim that could be tested, and remarks by the number of the claim.
    """

    counts: str
    tables: str


def audit_latex(findings: Sequence[Finding]) -> Audit:
    """Return what was found about claims.

    Args:
        findings: At least one.
    """
    counts, table, *_ = audit_markdown(findings).split("\n\n")
    # Below the header and its rule: claim, verdict, measured, reference.
    lines = zip(findings, table.splitlines()[2:], strict=True)
    rows = [
        [str(number), finding.claim.statement, *_cells(line)[1:]]
        for number, (finding, line) in enumerate(lines, 1)
        if finding.values is not None
    ]
    return Audit(
        prose(counts), "\n".join([*_tables(rows), _untested(findings), _remarks(findings)])
    )


def _tables(rows: Sequence[Sequence[str]]) -> list[str]:
    header = ["", "claim", "verdict", "measured", "reference"]
    tables = []
    num_tables = max(1, math.ceil(len(rows) / _MOST_CLAIMS))
    size = max(1, math.ceil(len(rows) / num_tables))  # Tables of about the same length.
    for start in range(0, len(rows), size):
        body = tabular(_COLUMNS, header, rows[start : start + size])
        continued = ", continued" if start else ""
        caption = f"Claims{continued}: mean over seeds, 95 % interval, and number of seeds n."
        tables.append(floating("table*", f"\\footnotesize\n{body}", caption, f"tab:claims{start}"))
    return tables


def _untested(findings: Sequence[Finding]) -> str:
    claims = [finding.claim for finding in findings if finding.values is None]
    if not claims:
        return ""
    experiments = dict.fromkeys(name for claim in claims for name in claim.experiments)
    named = " or ".join(f"`{name}`" for name in experiments)
    return prose(
        f"{len(claims)} claims could not be tested here and are left out: they need {named}, of "
        "which there are no stored results."
    )


def _cells(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _remarks(findings: Sequence[Finding]) -> str:
    remarks = [
        rf"\item[{number}] {prose(finding.claim.remark)}"
        for number, finding in enumerate(findings, 1)
        if finding.values is not None and finding.claim.remark.strip()
    ]
    if not remarks:
        return ""
    lines = ["Remarks, by the number of the claim:", r"\begin{description}", *remarks]
    return "\n".join([*lines, r"\end{description}"])
