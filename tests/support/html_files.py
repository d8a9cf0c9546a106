"""What can be seen in the files of a web site without a browser: links, and names given twice."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_REFERENCES = ("href", "xlink:href", "src")


def pages(site: Path) -> list[str]:
    """Return every page of a site, as the path of its file within the site."""
    return sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html"))


def dead_links(site: Path) -> list[str]:
    """Return the links of a site's pages to what is not in it, each with its page.

    A link is any reference: to a page or a place in it, to a picture, script or style sheet, to a
    symbol of a drawing. One to another site is not followed. One that begins with "/", or leads
    out of the folder, is dead, since the site has to work wherever the folder is put.
    """
    site = site.resolve()
    return [
        f"{page}: {link}"
        for page in pages(site)
        for link in sorted(_parsed(site / page).links)
        if not _resolves(link, site / page, site)
    ]


def repeated_ids(site: Path) -> list[str]:
    """Return the ids that more than one element of a page has, each with its page."""
    return [
        f"{page}: {id_} (of {times} elements)"
        for page in pages(site)
        for id_, times in _parsed(site / page).ids.items()
        if times > 1
    ]


@dataclass
class _Parsed(HTMLParser):
    """Ids of a page, with how many elements have them, and its links."""

    ids: Counter[str] = field(default_factory=Counter)
    links: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.ids.update(value or "" for name, value in attributes if name == "id")
        self.links.update(value or "" for name, value in attributes if name in _REFERENCES)


def _parsed(file: Path) -> _Parsed:
    return _parse(file, file.stat().st_mtime_ns)


@cache
def _parse(file: Path, _modified: int) -> _Parsed:
    parsed = _Parsed()
    parsed.feed(file.read_text(encoding="utf-8"))
    parsed.close()
    return parsed


def _resolves(link: str, page: Path, site: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    if parts.path.startswith("/"):
        return False
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if file.is_dir():
        file /= "index.html"
    if not file.is_relative_to(site) or not file.is_file():
        return False
    is_place = parts.fragment and file.suffix == ".html"
    return not is_place or unquote(parts.fragment) in _parsed(file).ids
