"""Pages: the parts that stored results fill, and a page for the README of every baseline."""

import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from common.analysis.generated_parts import fill_parts
from common.replication.definition import Replication
from common.replication.pages import page_parts
from flowerbed_site import benchmarks, repository
from flowerbed_site.links import rewrite_links
from flowerbed_site.toctree import MadeToctree

_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
# The audit has a heading a claim: too many for the contents beside a page.
_DEPTH_OF_CONTENTS: Final = 2
# Kept with what Sphinx keeps between builds.
_FINGERPRINT: Final = "flowerbed_fingerprint"
# At the end of a baseline's page, for the navigation.
_RUNNING_IT: Final = """
```{{toctree}}
:hidden:

Running it <running/{package}>
```
"""


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("baselines-toctree", BaselinesToctree)
    app.connect("builder-inited", _write_running_pages)
    app.connect("env-get-outdated", _read_again)
    app.connect("source-read", _complete)


class BaselinesToctree(MadeToctree):
    """A toctree of every baseline's page, under the name of its package."""

    def entries(self) -> list[str]:
        """Return an entry a baseline."""
        return [f"{name} <{its.page.stem}>" for name, its in repository.replications().items()]


def running_page(replication: Replication) -> Path:
    """Return the source of the page that is made of a baseline's README; not kept in git."""
    return repository.DOCS / "running" / f"{replication.package}.md"


def linked_pages() -> dict[Path, Path]:
    """Return the files outside docs/ that have a page -> the source of that page."""
    readmes = {its.readme: running_page(its) for its in repository.replications().values()}
    return {repository.ROOT / "README.md": repository.DOCS / "index.md"} | readmes


def _parts(replication: Replication, folder: Path) -> dict[str, str]:
    package = replication.package
    return page_parts(replication, repository.stored(package), repository.judged(package), folder)


def _write_running_pages(_: Sphinx) -> None:
    """Make a page of every README, its parts filled; one that changed is built anew."""
    current = {running_page(replication) for replication in repository.replications().values()}
    for stale in set((repository.DOCS / "running").glob("*.md")) - current:
        stale.unlink()
    for replication in repository.replications().values():
        readme, page = replication.readme, running_page(replication)
        text = _FRONT_MATTER.sub("", readme.read_text(encoding="utf-8"))
        text = fill_parts(text, _parts(replication, readme.parent))
        text = rewrite_links(text, readme.parent, page.parent, linked_pages(), repository.DOCS)
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _read_again(
    _: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Return the pages that may show what has changed since the last build: all but the API's."""
    before, now = getattr(env, _FINGERPRINT, ""), repository.fingerprint()
    setattr(env, _FINGERPRINT, now)
    pages = [page for page in env.found_docs if not page.startswith("api/")]
    return [] if now == before else pages


def _complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Fill the parts of a page that Sphinx has read, and mend its links."""
    page = repository.DOCS / f"{docname}.md"
    for replication in repository.replications().values():
        if page == replication.page:
            app.env.metadata[docname]["tocdepth"] = _DEPTH_OF_CONTENTS
            filled = fill_parts(source[0], _parts(replication, page.parent))
            source[0] = filled + _RUNNING_IT.format(package=replication.package)
    if page == benchmarks.page_file():
        source[0] = fill_parts(source[0], benchmarks.parts())
    if page.exists() and page.parent == repository.DOCS:
        links = linked_pages()
        source[0] = rewrite_links(source[0], page.parent, page.parent, links, repository.DOCS)
