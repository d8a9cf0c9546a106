"""Parts of a page that are written from results, between a pair of comments."""

import re


def replace_part(text: str, name: str, part: str) -> str:
    """Replace what stands between the markers of a part.

    Raises:
        ValueError: The markers are not there exactly once.
    """
    pattern = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}\n{part}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"The page must have the markers of {name!r} once, but has them {count}x.")
    return new
