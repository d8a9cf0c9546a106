"""The lines of the repository's pyproject.toml that make a baseline's package known."""

import re
import tomllib
from typing import Any, Final

from common.errors import UserInputError

# The last baseline that is installed, and the last package whose types are checked.
_INSTALLED: Final = re.compile(
    r'^( *)\{ include = "(\w+)", from = "baselines/\2" \},.*\n(?=\])', re.M
)
_CHECKED: Final = re.compile(
    r'^\[tool\.mypy\]\n[^\[]*?packages = \[\n(?:( *)"\w+",.*\n)+(?=\])', re.M
)


def register(pyproject: str, name: str) -> str:
    """Add a package to those that are installed and to those whose types are checked.

    Args:
        pyproject: Text of the repository's pyproject.toml; all else in it stays as it is.
        name: Of the package, whose folder is baselines/NAME/NAME.

    Returns:
        The text with the package.

    Raises:
        UserInputError: The file does not list its packages as this repository does.
    """
    line = f'{{ include = "{name}", from = "baselines/{name}" }},\n'
    text = _INSTALLED.sub(lambda last: f"{last[0]}{last[1]}{line}", pyproject, count=1)
    text = _CHECKED.sub(lambda last: f'{last[0]}{last[1]}"{name}",\n', text, count=1)
    if not _is_registered(pyproject, text, name):
        raise UserInputError(
            "pyproject.toml is not allowed: its [tool.poetry] must have packages, the last of them "
            "a baseline, and its [tool.mypy] packages, each in a line of its own."
        )
    return text


def _is_registered(before: str, after: str, name: str) -> bool:
    """Tell whether the text says what it did and that, and nothing else."""
    tables: dict[str, Any] = tomllib.loads(before)
    try:
        installed = tables["tool"]["poetry"]["packages"]
        checked = tables["tool"]["mypy"]["packages"]
    except KeyError:
        return False
    installed.append({"include": name, "from": f"baselines/{name}"})
    checked.append(name)
    return tomllib.loads(after) == tables
