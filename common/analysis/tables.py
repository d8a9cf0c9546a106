"""Tables as Markdown, which reads well in a terminal, too, and as LaTeX for a paper."""

from collections.abc import Sequence
from typing import Final

# By code: some of these look like others, such as the micro sign and the letter mu.
_MATH: Final = {
    **{"<": "<", ">": ">", "\u2264": r"\le", "\u2265": r"\ge", "\u2212": "-", "\u221e": r"\infty"},
    **{"\u00b1": r"\pm", "\u00d7": r"\times", "\u00b5": r"\mu", "\u03bc": r"\mu"},
    **{"\u03b1": r"\alpha", "\u03b2": r"\beta", "\u03b7": r"\eta", "\u03c4": r"\tau"},
}
_LATEX: Final = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        # At the start of a row they would belong to the line break before it.
        **{"[": "{[}", "*": "{*}"},
        **{character: f"${math}$" for character, math in _MATH.items()},
    }
)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns line up; all but the first are aligned to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(header), line(rule), *map(line, rows)])


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a table for LaTeX with booktabs; all but the first column are aligned to the right.

    Cells are plain text: what is special in LaTeX is escaped, and the letters and signs that tables
    here have beyond ASCII become math.
    """
    columns = "l" + "r" * (len(header) - 1)
    head, *body = (" & ".join(c.translate(_LATEX) for c in row) + r" \\" for row in (header, *rows))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
