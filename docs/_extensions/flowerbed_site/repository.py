"""The repository as the site sees it: its baselines, and what their stored results say."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

from sphinx.environment import BuildEnvironment

from common.analysis.results import Results
from common.replication.definition import Replication
from common.replication.pages import Judged, judge
from common.replication.stored import load_stored

ROOT: Final = Path(__file__).resolve().parents[3]
DOCS: Final = ROOT / "docs"


@cache
def replications() -> Mapping[str, Replication]:
    """Return every baseline by the name of its package, in the order of the top pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [
        package["include"]
        for package in project["tool"]["poetry"]["packages"]
        if package.get("from", "").startswith("baselines/")
    ]
    return {name: import_module(f"{name}.replication").REPLICATION for name in packages}


@cache
def stored(package: str) -> Mapping[str, Results]:
    """Return the stored results of a baseline, by the name of their experiment."""
    return load_stored(replications()[package])


@cache
def judged(package: str) -> Judged:
    """Return what the stored results of a baseline say of its claims."""
    return judge(replications()[package], stored(package))


def note_sources(env: BuildEnvironment) -> None:
    """Have the page that is read be read again when a result changes, or code that shows it."""
    for file in _sources():
        env.note_dependency(str(file))


def _sources() -> tuple[Path, ...]:
    folders = [ROOT / "common" / "analysis", ROOT / "common" / "replication", Path(__file__).parent]
    files = [DOCS / "performance" / "results.json", ROOT / "tests" / "benchmarks" / "page.py"]
    for replication in replications().values():
        folders += [replication.folder / replication.package, replication.results]
        folders += [replication.published]
        files += [replication.claims, replication.readme]
    found = (file for folder in folders for file in folder.glob("*.*"))
    kept = (file for file in found if file.suffix in {".py", ".csv", ".parquet"})
    return (*files, *sorted(kept))
