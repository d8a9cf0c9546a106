"""The stored results of `make bench`, as the benchmark itself writes and draws them."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from flowerbed_site import repository


def page_file() -> Path:
    """Return the source of the page on performance."""
    return repository.DOCS / "performance.md"


def results_file() -> Path:
    """Return the file of results, which need not be there."""
    return repository.DOCS / "performance" / "results.json"


def picture() -> Path:
    """Return the picture on that page."""
    return repository.DOCS / "performance" / "clients_per_second.png"


def parts() -> dict[str, str]:
    """Return the generated parts of the page, by name."""
    return dict(_writer().parts(_results()))


def draw(file: Path) -> None:
    """Draw the picture to a file."""
    _writer().draw(_results(), file)


def _results() -> Any:
    return json.loads(results_file().read_text(encoding="utf-8"))


def _writer() -> ModuleType:
    """Return the module of the benchmark that writes the page; it is in no package."""
    folder = str(repository.ROOT / "tests" / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return import_module("page")
    finally:
        sys.path.remove(folder)
