"""All verdicts in one table, which _static/claims.js filters."""

from collections import Counter
from html import escape
from typing import Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from common.analysis.audit_page import VERDICTS, JudgedClaim, in_words
from flowerbed_site import repository

_HEADER: Final = ("baseline", "claim", "verdict", "measured here", "claimed")


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("claims-table", ClaimsTable)
    app.add_js_file("claims.js")


class ClaimsTable(SphinxDirective):
    """The claims of all baselines, with what filters them."""

    def run(self) -> list[nodes.Node]:
        """Return the filters and the table."""
        found = {
            package: in_words(repository.judged(package).findings)
            for package in repository.replications()
        }
        html = "\n".join([_filters(found), _table(found)])
        return [nodes.raw("", f'<div class="claims">{html}</div>', format="html")]


def _filters(found: dict[str, list[JudgedClaim]]) -> str:
    counts = Counter(claim.verdict for claims in found.values() for claim in claims)
    total = sum(counts.values())
    boxes = "".join(
        f'<label class="verdict {_css(words)}"><input type="checkbox" name="verdict" checked '
        f'value="{_css(words)}"> {escape(words)} ({counts[words]})</label>'
        for words in VERDICTS.values()
    )
    options = "".join(f'<option value="{name}">{name}</option>' for name in found)
    return (
        '<form class="claims-filters" role="search" aria-label="Filter the claims">'
        f"<fieldset><legend>verdict</legend>{boxes}</fieldset>"
        f'<label>baseline <select name="baseline"><option value="">all</option>{options}</select>'
        '</label><label>words <input type="search" name="words" autocomplete="off"></label>'
        f'<output class="claims-count">{total} of {total} claims</output></form>'
    )


def _table(found: dict[str, list[JudgedClaim]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEADER)
    rows = "\n".join(_row(package, claim) for package, all_ in found.items() for claim in all_)
    return (
        '<div class="table-wrapper"><table class="claims-table docutils">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(package: str, claim: JudgedClaim) -> str:
    page = repository.replications()[package].page.stem
    link = f"{page}.html#{nodes.make_id(claim.id)}"
    statement = (
        f'<a href="{link}">{escape(claim.statement)}</a>'
        f'<span class="source">{escape(claim.source)}</span>'
    )
    verdict = f'<span class="verdict {_css(claim.verdict)}">{escape(claim.verdict)}</span>'
    cells = (package, statement, verdict, escape(claim.measured), escape(claim.reference))
    body = "".join(
        f'<td data-label="{name}">{cell}</td>' for name, cell in zip(_HEADER, cells, strict=True)
    )
    return (
        f'<tr data-baseline="{package}" data-verdict="{_css(claim.verdict)}" '
        f'id="{package}-{nodes.make_id(claim.id)}">{body}</tr>'
    )


def _css(words: str) -> str:
    return words.replace(" ", "-")
