"""What a Markdown file links to, and which anchors its headings have."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
# Made when the site is built, which checks links to these itself.
_OF_THE_SITE = (REPOSITORY / "docs" / "api", REPOSITORY / "docs" / "running")
BASELINES = sorted(file.parent for file in (REPOSITORY / "baselines").glob("*/pyproject.toml"))

_FENCE = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
# The text may have brackets, such as an interval's.
_LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^)\s]+)\)")
_PART = re.compile(r"<!-- begin: (\S+) -->.*?<!-- end: \1 -->", re.DOTALL)


class Heading(NamedTuple):
    level: int
    text: str


def headings(text):
    """Return the headings of a page, in their order."""
    return [Heading(len(marks), title) for marks, title in _HEADING.findall(_FENCE.sub("", text))]


def sections(text):
    """Return the headings of the second level."""
    return [heading.text for heading in headings(text) if heading.level == 2]


def section(text, title):
    """Return what stands below a heading of the second level."""
    return re.split(r"^## ", text.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def anchors(text, deepest=4):
    """Return the anchors of a page's headings, by GitHub's rule, which the site has down to h4."""
    slugs = Counter()
    found = set()
    for level, title in headings(text):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        if level <= deepest:
            found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
        slugs[slug] += 1
    return found


def links(text):
    """Return the targets of links and pictures, but for those of the web."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    targets = [target for _, target in _LINK.findall(prose)]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def pictures(text):
    """Return the targets of pictures."""
    return [target for bang, target in _LINK.findall(_FENCE.sub("", text)) if bang]


def parts(text):
    """Return the generated parts of a page by name, in their order."""
    return {match[1]: match[0] for match in _PART.finditer(text)}


def prose(text):
    """Return a page without its generated parts."""
    return _PART.sub("", text)


def broken_links(page):
    """Return the links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    return [target for target in links(text) if not _leads_somewhere(page, target)]


def _leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if file.parent in _OF_THE_SITE:
        return True
    if not anchor or file.suffix != ".md":
        return file.exists()
    return file.exists() and anchor in anchors(file.read_text(encoding="utf-8"))
