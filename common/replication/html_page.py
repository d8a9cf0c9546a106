"""The report on some runs as one HTML file, which needs nothing beside it and asks for nothing."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from common.analysis.inline_svg import FIGURES_CSS, inline_svg
from common.analysis.results import Results
from common.analysis.runs import Run
from common.experiment.config import flatten, read_default_config
from common.experiment.result_files import finite
from common.replication.comparison import compare, panel_titles
from common.replication.cost import cost_line
from common.replication.definition import Replication
from common.replication.drawing import heading, shows_published
from common.replication.tables import Table, Tables

_FOLDER: Final = Path(__file__).parent
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Text of runs is in what this renders: it may look different, and lead nowhere.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).disable(["image", "link", "autolink"])

_DIGITS: Final = 12  # Of a hash.
_MOST_VALUES: Final = 12  # Of a key.
_UNKNOWN: Final = "?"


@dataclass(frozen=True)
class Report:
    """What there is to say of some runs.

    Attributes:
        replication: What they are runs of.
        experiment: Their experiment, or another name if they are of none.
        changed: Keys, with their values, in which they differ from the experiment.
        runs: Those that have ended.
        left_out: Folders of those that have not.
        results: The first as tables.
        tables: What they say.
    """

    replication: Replication
    experiment: str
    changed: Sequence[str]
    runs: Sequence[Run]
    left_out: Sequence[Path]
    results: Results
    tables: Tables


def html_page(report: Report, figures: Sequence[tuple[str, str]]) -> str:
    """Return the report as a page, the same for the same runs.

    Args:
        report: What it is to say.
        figures: What each shows, and its SVG as :func:`common.analysis.style.save_figure` wrote it.
    """
    replication, experiment = report.replication, report.experiment
    figure = replication.figures.get(experiment)
    names = _shown_folders([*(run.folder for run in report.runs), *report.left_out])
    return _TEMPLATES.get_template("page.html.jinja").render(
        css=Markup(_css()),
        title=heading(replication, experiment, report.changed) or replication.package,
        package=replication.package,
        question=_inline(figure.question if figure else ""),
        cost=_inline(cost_line(report.results)),
        figures=[
            Markup(inline_svg(svg, f"figure-{number}", title))
            for number, (title, svg) in enumerate(figures, 1)
        ],
        shows_published=shows_published(
            replication, compare(replication, report.results), experiment, report.changed
        ),
        num_seeds=report.results.runs["seed"].nunique(),
        tables=report.tables,
        keys=_changed_keys(replication, report.results),
        runs=_runs(replication, report.runs, names[: len(report.runs)]),
        left_out=names[len(report.runs) :],
    )


def _css() -> str:
    files = (FIGURES_CSS, _FOLDER / "page.css")
    return "\n".join(file.read_text(encoding="utf-8").strip() for file in files)


def _inline(text: str) -> Markup:
    return Markup(_MARKDOWN.renderInline(text))


def _shown_folders(folders: Sequence[Path]) -> list[str]:
    """Return folders from the last one that they share, so that the page tells no more of where."""
    absolute = [folder.resolve() for folder in folders]
    above = Path(os.path.commonpath(absolute)).parent
    return [str(folder.relative_to(above)) for folder in absolute]


def _changed_keys(replication: Replication, results: Results) -> Table:
    defaults = flatten(read_default_config(replication.folder / "pyproject.toml"))
    rows = []
    for key in results.keys:
        values = results.runs[key].drop_duplicates().tolist()
        if key not in defaults:
            rows.append([key, _UNKNOWN, _told_all(values)])
        elif values != [defaults[key]]:
            rows.append([key, _told(defaults[key]), _told_all(values)])
    caption = f"Keys in which they differ from the defaults of {replication.package}:"
    return Table("keys", caption, ["key", "default", "in these runs"], rows)


def _told_all(values: Sequence[Any]) -> str:
    told = [_told(value) for value in _sorted(values)]
    rest = len(told) - _MOST_VALUES
    return ", ".join(told[:_MOST_VALUES]) + (f" and {rest} more" if rest > 0 else "")


def _sorted(values: Sequence[Any]) -> list[Any]:
    numbers = [value for value in values if isinstance(value, int | float) and not pd.isna(value)]
    return [*sorted(numbers), *(value for value in values if value not in numbers)]


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "missing" if pd.isna(value) else f"{value:.10g}"
    return str(value) or '""'


def _runs(replication: Replication, runs: Sequence[Run], folders: Sequence[str]) -> Table:
    """Return a table of the runs, in the order of their folders' names and numbers."""
    panels = [run.config_as(replication.panel_keys) for run in runs]
    titles = panel_titles(set(panels))
    rows = [
        [
            folder,
            titles[panel],
            run.config_as(replication.arm_keys).name,
            str(run.config["seed"]),
            f"{len(run.rounds)}{', stopped' * ('stopped' in run.summary)}",
            _number(run.rounds[-1]["test_accuracy"], ".2f", scale=100),
            str(run.summary.get("model_sha256", _UNKNOWN))[:_DIGITS],
            _number(run.summary.get("seconds"), ",.1f"),
        ]
        for run, panel, folder in zip(runs, panels, folders, strict=True)
    ]
    caption = "Each of them, with the accuracy of its last round and the hash of its final weights:"
    header = ["run", "panel", "arm", "seed", "rounds", "accuracy (%)", "sha256", "seconds"]
    return Table("runs", caption, header, sorted(rows, key=lambda row: _natural(row[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what to sort by for "run-10" to come after "run-9"."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _number(value: object, digits: str, scale: float = 1) -> str:
    number = finite(value)
    return _UNKNOWN if number is None else f"{scale * number:{digits}}"
