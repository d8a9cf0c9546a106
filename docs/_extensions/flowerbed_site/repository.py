"""The repository as the site sees it: its baselines, and what their stored results say."""

import tomllib
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Final

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


def fingerprint() -> str:
    """Return a digest of what pages show: results, claims, READMEs, and code that shows them."""
    digest = sha256()
    for file in _sources():
        digest.update(f"{file}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources() -> list[Path]:
    replicating = replications().values()
    files = [ROOT / "pyproject.toml", DOCS / "performance" / "results.json"]
    files += [file for its in replicating for file in (its.claims, its.readme)]
    folders = [Path(__file__).parent, ROOT / "common" / "analysis", ROOT / "common" / "replication"]
    folders += [ROOT / "common" / "partition", ROOT / "tests" / "benchmarks"]
    folders += [
        folder
        for its in replicating
        for folder in (its.folder / its.package, its.results, its.published)
    ]
    files += [file for folder in folders for file in folder.glob("*.*")]
    kinds = {".py", ".toml", ".yaml", ".md", ".json", ".csv", ".parquet"}
    return sorted(file for file in files if file.suffix in kinds and file.is_file())
