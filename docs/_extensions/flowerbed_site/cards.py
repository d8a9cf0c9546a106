"""A card for every baseline on the start page: what it replicates, and what came of the claims."""

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from common.analysis.audit_page import count_verdicts
from common.replication.definition import Replication
from flowerbed_site import repository


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("baseline-cards", BaselineCards)


class BaselineCards(SphinxDirective):
    """The cards, in a grid of sphinx-design."""

    def run(self) -> list[nodes.Node]:
        """Return the grid."""
        cards = map(_card, repository.replications().values())
        grid = "\n".join([":::::{grid} 1 1 2 2", ":gutter: 3", "", *cards, ":::::"])
        return self.parse_text_to_nodes(grid)


def _card(replication: Replication) -> str:
    package = replication.package
    return "\n".join(
        [
            f"::::{{grid-item-card}} {package}",
            f":link: {replication.page.stem}",
            ":link-type: doc",
            "",
            _title(replication),
            ":::{card-footer}",
            f"{count_verdicts(repository.judged(package).findings)}.",
            ":::",
            "::::",
        ]
    )


def _title(replication: Replication) -> str:
    """Return the title of the front matter of a baseline's README."""
    _, front_matter, _ = replication.readme.read_text(encoding="utf-8").split("---\n", 2)
    return str(yaml.safe_load(front_matter)["title"])
