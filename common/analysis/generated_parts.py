"""Parts of a page that are written from results, between a pair of comments."""

import re
from collections.abc import Mapping

from common.errors import UserInputError


def replace_part(text: str, name: str, part: str) -> str:
    """Replace what stands between the markers of a part.

    Args:
        text: The page.
        name: Of the part, without spaces.
        part: What is to stand there.

    Returns:
        The page with the part.

    Raises:
        UserInputError: The markers are not there exactly once.
    """
    marker = re.escape(name)
    pattern = re.compile(rf"(<!-- begin: {marker} -->\n).*?(<!-- end: {marker} -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}\n{part}\n\n{match[2]}", text)
    if count != 1:
        raise UserInputError(
            f"the page is not allowed: it must have the markers of {name!r} once, but has them "
            f"{count} times."
        )
    return new


def fill_parts(text: str, parts: Mapping[str, str]) -> str:
    """Replace every part that a page has markers for.

    Args:
        text: The page.
        parts: Name of a part, without spaces -> what is to stand there; the page may have some of
            them.

    Returns:
        The page with the parts.

    Raises:
        UserInputError: The page has a part that there is no text for, or its markers are not there
            exactly once.
    """
    for name in re.findall(r"<!-- begin: (\S+) -->", text):
        if name not in parts:
            raise UserInputError(
                f"the part {name!r} of the page is not allowed: it must be one of "
                f"{', '.join(parts) or 'none'}."
            )
        text = replace_part(text, name, parts[name])
    return text
