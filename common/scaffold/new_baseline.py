"""Copy the template of a baseline under a new name, and register its package."""

import keyword
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from common.durable import telling, write_atomically
from common.errors import UserInputError
from common.scaffold.registration import register

TEMPLATE: Final = Path(__file__).parent / "template"
MAX_LENGTH: Final = 32  # Of a name, by `flwr run`.


def new_baseline(name: str, root: Path) -> list[Path]:
    """Write a baseline that runs, its tests and its page, and register its package.

    Nothing is left behind of a baseline that could not be written whole.

    Args:
        name: Of the package, in snake_case.
        root: Of the repository.

    Returns:
        What was made, the baseline's folder, that of its tests, and its page.

    Raises:
        UserInputError: The name is not allowed, or pyproject.toml does not list packages as it does
            in this repository, or ruff is not installed.
        StorageError: Something could not be written.
    """
    pyproject = root / "pyproject.toml"
    places = _places(name, root)
    require_name(name, root, places)
    if find_spec("ruff") is None:
        raise UserInputError("ruff is missing: it must be installed, as by `make .venv/.ready`.")
    registered = register(pyproject.read_text(encoding="utf-8"), name)
    made: list[Path] = []
    try:
        with telling(root), tempfile.TemporaryDirectory(dir=root, prefix=".scaffold-") as staged:
            copies = {
                path: _copy(template, Path(staged) / path.relative_to(root), name)
                for path, template in places.items()
            }
            _tidy(Path(staged), root)
            for path, copy in copies.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                copy.rename(path)
                made.append(path)
        write_atomically(pyproject, registered.encode())
    except BaseException:
        for path in made:
            _remove(path)
        raise
    return made


def require_name(name: str, root: Path, places: Mapping[Path, Path] | None = None) -> None:
    """Refuse a name that a package of this repository cannot have.

    Args:
        name: Of the package.
        root: Of the repository.
        places: What is to be written; none of it may be there.

    Raises:
        UserInputError: It is no name, or taken.
    """
    if len(name) > MAX_LENGTH or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserInputError(
            f"name={name!r} is not allowed: it must be at most {MAX_LENGTH} lower-case letters, "
            "digits and single underscores between them, a letter first, as in "
            "`make new-baseline name=my_method`."
        )
    written = places if places is not None else _places(name, root)
    for path in (*written, root / "docs" / f"{name}.py"):
        if path.exists():
            raise UserInputError(
                f"name={name!r} is not allowed: it must be new, but {path.relative_to(root)} is "
                "there already."
            )
    # Tests import what is in tests/support by its bare name.
    is_module = find_spec(name) is not None or (root / "tests/support" / f"{name}.py").exists()
    if keyword.iskeyword(name) or is_module or (root / name).exists():
        raise UserInputError(
            f"name={name!r} is not allowed: it must be new to Python, but there is a "
            f"{'keyword' if keyword.iskeyword(name) else 'module'} of that name."
        )


def spellings(name: str) -> dict[str, str]:
    """Return how the template spells its name -> how a baseline of this name spells that."""
    return {
        "new_baseline": name,
        "new-baseline": name.replace("_", "-"),
        "NewBaseline": "".join(word.capitalize() for word in name.split("_")),
    }


def _places(name: str, root: Path) -> dict[Path, Path]:
    """Return each place to write to -> the part of the template that goes there."""
    return {
        root / "baselines" / name: TEMPLATE / "baseline",
        root / "tests" / "baselines" / name: TEMPLATE / "tests",
        root / "docs" / f"{name}.md": TEMPLATE / "docs" / "new_baseline.md",
    }


def _copy(template: Path, target: Path, name: str) -> Path:
    """Copy a file or a folder, renamed, and return the copy."""
    if template.is_dir():
        target.mkdir(parents=True)
        for child in template.iterdir():
            if child.name != "__pycache__":
                _copy(child, target / _renamed(child.name, name), name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        target.write_text(_renamed(text, name), encoding="utf-8")
    return target


def _renamed(text: str, name: str) -> str:
    for old, new in spellings(name).items():
        text = text.replace(old, new)
    return text


def _tidy(folder: Path, root: Path) -> None:
    """Sort the imports and wrap the lines, which depend on the name."""
    for command in (["check", "--quiet", "--select=I", "--fix"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", str(folder)]
        subprocess.run(ruff, cwd=root, check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
