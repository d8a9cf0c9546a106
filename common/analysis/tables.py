"""Tables as Markdown, which reads well in a terminal, too, and as LaTeX for a paper."""

from collections.abc import Collection, Sequence
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


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """Return a table whose columns line up.

    Args:
        header: One cell a column.
        rows: Cells of one line; "|" is escaped.
        left: The columns that are aligned to the left; all others are to the right.
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    texts = [
        " | ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {text} |" for text in texts)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a table for LaTeX with booktabs; all but the first column are aligned to the right.

    Cells are plain text: what is special in LaTeX is escaped, and the letters and signs that tables
    here have beyond ASCII become math.
    """
    columns = "l" + "r" * (len(header) - 1)
    head, *body = (" & ".join(c.translate(_LATEX) for c in row) + r" \\" for row in (header, *rows))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
