"""What autodoc says of types and bases, as a reader of the source would.

NumPy's arrays are ``NDArray[float32]`` again, not their expansion, and a pydantic type with a
condition is the type: what is allowed is in the docstring.
"""

import re
from typing import Any, Final

from sphinx.application import Sphinx

from flowerbed_site.api_pages import packages

_ARRAY: Final = re.compile(
    r"~?(?:numpy\.)?ndarray\[~?tuple\[~?(?:typing\.)?Any, \.\.\.\], "
    r"~?(?:numpy\.)?dtype\[((?:[\w.~]|\[[\w.~]*\])+)\]\]"
)
_ARRAY_LIKE: Final = re.compile(r"[\w.~]*_Buffer \| .*?_NestedSequence\[[\w.~ |]*\bstr\]")
_CONDITION: Final = re.compile(r"~?(?:typing\.)?Annotated\[")
_AFTER_NAPOLEON: Final = 600  # Whose handler has priority 500.


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("autodoc-process-docstring", _process_docstring, priority=_AFTER_NAPOLEON)


def readable_types(text: str) -> str:
    """Return a text with ``NDArray[X]``, ``ArrayLike`` and, for ``Annotated[X, ...]``, X."""
    text = _ARRAY_LIKE.sub("ArrayLike", _ARRAY.sub(r"NDArray[\1]", text))
    while found := _CONDITION.search(text):
        comma, end = _parts_of(text, found.end())
        text = text[: found.start()] + text[found.end() : comma] + text[end + 1 :]
    return text


def _parts_of(text: str, start: int) -> tuple[int, int]:
    """Return where the first comma of a bracket is and where it ends, given where it starts."""
    depth, comma = 0, -1
    for i in range(start, len(text)):
        if depth == 0 and text[i] == "," and comma < 0:
            comma = i
        if depth == 0 and text[i] == "]":
            return comma, i
        depth += (text[i] in "[(") - (text[i] in "])")
    raise ValueError(f"{text!r} has a bracket that does not end")


def _process_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    return signature and readable_types(signature), returned and readable_types(returned)


def _process_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = [readable_types(line) if line.startswith(":vartype ") else line for line in lines]
    if what == "class" and (bases := _public_bases(obj)):
        lines[:0] = [f"Bases: {', '.join(bases)}", ""]


def _public_bases(obj: Any) -> list[str]:
    """Return the bases of a class that have a page here, as references."""
    names = {path.name for path in packages()}
    return [
        f":py:class:`~{base.__module__}.{base.__qualname__}`"
        for base in getattr(obj, "__bases__", ())
        if base.__module__.partition(".")[0] in names and not base.__name__.startswith("_")
    ]
