"""Relative links of a Markdown file, as another file has to write them."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

# "[text](target#anchor)"; a target with a scheme, such as https:, is none of a file.
_LINK: Final = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)"
)
_FENCE: Final = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)


def rewrite_links(
    text: str, source: Path, target: Path, pages: Mapping[Path, Path], site: Path
) -> str:
    """Return Markdown whose relative links lead where they led, from another folder.

    A link to a file that has a page of the site leads to that page; one to any other file gives the
    file. One to a folder, which a site has nothing for, becomes plain text.

    Args:
        text: Markdown; what stands in fenced code is left alone.
        source: Folder that its links start from.
        target: Folder that they are to start from.
        pages: Files of the repository that have a page -> source of the page.
        site: Folder of the pages' sources.
    """

    def rewrite(match: re.Match[str]) -> str:
        bang, label, link, anchor = match[1], match[2], match[3], match[4] or ""
        file = (source / link).resolve()
        if file.is_dir():
            return label
        if file.suffix == ".md" and file not in pages and site not in file.parents:
            return f"[{label}](path:{os.path.relpath(file, target)})"  # MyST's word for a download.
        return f"{bang}[{label}]({os.path.relpath(pages.get(file, file), target)}{anchor})"

    return _outside_code(text, lambda prose: _LINK.sub(rewrite, prose))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change what stands between blocks of fenced code."""
    changed, end = [], 0
    for fence in _FENCE.finditer(text):
        changed += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*changed, change(text[end:])])
