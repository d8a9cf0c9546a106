"""Plain text and tables as LaTeX; paper.tex declares the letters and signs beyond ASCII."""

import re
from collections.abc import Sequence
from typing import Final

_SPECIAL: Final = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#{}"},
        "_": r"\_\allowbreak{}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        # At the start of a row they would belong to the line break before it.
        **{"[": "{[}", "*": "{*}"},
    }
)
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_QUOTED: Final = re.compile(r'"([^"]*)"')
_MINUS: Final = re.compile(r"(?<![\w.)-])-(?=\d)")
_POWER_OF_TEN: Final = re.compile(r"\b(\d+(?:\.\d+)?)e([+-])0*(\d+)\b")


def prose(text: str) -> str:
    """Return text, which may have Markdown's code and links, as LaTeX.

    What is special in LaTeX is escaped. Outside code, a hyphen before a number becomes a minus
    sign, 2e-05 a power of ten, and what belongs to a number stays on its line.
    """
    parts = _LINK.sub(r"\1", " ".join(text.split())).split("`")
    return "".join(
        rf"\texttt{{{part.translate(_SPECIAL)}}}" if place % 2 else _outside_code(part)
        for place, part in enumerate(parts)
    )


def _outside_code(text: str) -> str:
    signed = _MINUS.sub("\u2212", _QUOTED.sub("\u201c\\1\u201d", text))
    escaped = signed.translate(_SPECIAL).replace(r" \%", r"~\%")
    return _POWER_OF_TEN.sub(_power_of_ten, re.sub(" ([=\u00b1]) ", r"~\1~", escaped))


def _power_of_ten(found: re.Match[str]) -> str:
    factor, sign, exponent = found.groups()
    power = f"10^{{{sign.removeprefix('+')}{exponent}}}"
    return f"${power}$" if factor == "1" else rf"${factor}\cdot{power}$"


def tabular(columns: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain text.

    Args:
        columns: How LaTeX is to set the columns: l, r or p{width}, one for each.
        header: One cell a column.
        rows: Likewise.
    """
    head, *body = (" & ".join(map(prose, cells)) + r" \\" for cells in (header, *rows))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def floating(environment: str, body: str, caption: str, label: str) -> str:
    """Return a table or a figure that LaTeX finds a place for.

    Args:
        environment: table or figure, with an asterisk for both columns of the page.
        body: LaTeX.
        caption: Plain text; above a table, below a figure.
        label: What the text refers to it by.
    """
    told = rf"\caption{{{prose(caption)}}}\label{{{label}}}"
    parts = [told, body] if environment.startswith("table") else [body, told]
    return "\n".join(
        [rf"\begin{{{environment}}}[tp]", r"\centering", *parts, rf"\end{{{environment}}}"]
    )
