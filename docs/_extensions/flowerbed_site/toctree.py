"""A toctree whose entries are not written down in the page, but are those of the repository."""

from abc import abstractmethod

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.directives.other import TocTree


class MadeToctree(TocTree):
    """A toctree of :meth:`entries`, with the options of any other."""

    has_content = False

    @abstractmethod
    def entries(self) -> list[str]:
        """Return its entries, as "title <page>"."""

    def run(self) -> list[nodes.Node]:
        """Return what a toctree of these entries gives."""
        self.content = StringList(self.entries(), source="the repository")
        return list(super().run())
