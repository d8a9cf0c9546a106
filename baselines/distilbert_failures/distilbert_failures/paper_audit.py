"""The audit of claims in the paper, with the words and numbers of the README's."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from common.analysis.audit_page import audit_markdown
from common.analysis.verdicts import Finding
from distilbert_failures.paper_latex import floating, prose, tabular

# A table cannot go on at the next page: so many claims fill most of one.
_CLAIMS_PER_TABLE: Final = 12
_COLUMNS: Final = r"rp{0.42\textwidth}p{0.13\textwidth}p{0.22\textwidth}p{0.09\textwidth}"


class Audit(NamedTuple):
    """Parts of the paper.

    Attributes:
        counts: How many claims got which verdict, in a sentence.
        tables: A row for each claim, and remarks by the number of the claim.
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
    judged = [
        [str(number), finding.claim.statement, *_cells(line)[1:]]
        for number, (finding, line) in enumerate(
            zip(findings, table.splitlines()[2:], strict=True), 1
        )
    ]
    header = ["", "claim", "verdict", "measured", "reference"]
    pieces = range(0, len(judged), _CLAIMS_PER_TABLE)
    floats = [
        floating(
            "table*",
            f"\\footnotesize\n{tabular(_COLUMNS, header, judged[start : start + _CLAIMS_PER_TABLE])}",
            "Claims and verdicts" + (", continued." if start else ": mean, 95 % interval, seeds."),
            f"tab:claims-{start}",
        )
        for start in pieces
    ]
    return Audit(prose(counts), "\n".join([*floats, _remarks(findings)]))


def _cells(line: str) -> Iterable[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _remarks(findings: Sequence[Finding]) -> str:
    remarks = [
        rf"\item[{number}] {prose(finding.claim.remark)}"
        for number, finding in enumerate(findings, 1)
        if finding.claim.remark.strip()
    ]
    if not remarks:
        return ""
    lines = ["Remarks, by the number of the claim:", r"\begin{description}", *remarks]
    return "\n".join([*lines, r"\end{description}"])
