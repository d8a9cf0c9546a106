"""What the site makes of the repository: pages, figures and tables from the stored results.

Nothing that was measured stands in the sources of the pages: a changed result changes the site.
"""

from typing import Any

from sphinx.application import Sphinx

from flowerbed_site import (
    api_pages,
    api_text,
    cards,
    claims,
    figures,
    pages,
    partitions,
    traffic,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    for module in (pages, figures, cards, claims, partitions, traffic, api_pages, api_text):
        module.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
