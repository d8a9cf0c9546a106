"""Writes the generated parts of docs/performance.md and its figure, from the result file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from summary import Results, Row, rows, seconds_text, targets

from common.analysis.generated_parts import replace_part
from common.analysis.style import COLOURS, flowerbed_style, save_figure

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "performance.md"
RESULTS: Final = DOCS / "performance" / "results.json"
_TRAINING: Final = ("logistic_e20", "logistic_e1", "cnn")
_IDLE: Final = ("nothing", "transport")
_OURS, _PEERS = COLOURS[0], COLOURS[4]


def write_page(results_file: Path, page: Path) -> None:
    """Rewrite what stands between the page's markers, and draw the figure beside the results.

    Args:
        results_file: What a run of the benchmark wrote.
        page: Has a pair of comments ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` for each
            generated part.
    """
    results = json.loads(results_file.read_text())
    draw(results, results_file.parent / "clients_per_second.png")
    text = page.read_text()
    for name, part in parts(results).items():
        text = replace_part(text, name, part)
    page.write_text(text)


def parts(results: Results) -> dict[str, str]:
    """Return every generated part of the page, by the name of its markers."""
    return {
        "machine": _machine(results),
        "targets": _targets(results),
        "training": "\n\n".join(_training(results, work) for work in _TRAINING),
        "rounds": _rounds(results),
        "steps": _steps(results),
        "partition": _partition(results),
        "memory": _memory(results),
        "exactness": _exactness(results),
        "sweep": _commands(results, "sweep"),
        "engine_share": _commands(results, "engine_share"),
    }


def _machine(results: Results) -> str:
    environment = results["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    commit = environment["commit"] or "unknown"
    changed = ", changed," if commit.endswith("+") else ","
    gpus = ", ".join(environment["gpus"]) or "no GPU"
    quick = " **This was a quick run to test the harness: its numbers mean nothing.**"
    loads = [run["foreign_load"] for run in results["runs"]]
    busy = sum(not run["is_quiet"] for run in results["runs"])
    return (
        f"Measured on {results['date']} at commit {commit.rstrip('+')[:12]}{changed} on "
        f"{environment['cpus']} cores of {environment['processor']}, {gpus}, Python "
        f"{environment['python']}, {packages}. The arrays are {results['data']}. Other processes "
        f"used at most {max(loads, default=0):.0%} of the machine during a counted run; "
        f"{busy} of {len(loads)} runs were above 10 %."
    ) + (quick if results["quick"] else "")


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    if not body:
        return "*Not measured.*"
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *body))


def _targets(results: Results) -> str:
    body = [
        (target.title, target.wanted, target.measured, "yes" if target.is_met else "**no**")
        for target in targets(results)
    ]
    return _table(("", "target", "measured", "met"), body)


def _training(results: Results, work: str) -> str:
    its = rows(results, work)
    slowest = next((row for row in its if row.system == "loop"), its[0] if its else None)
    body = []
    for row in its:
        assert slowest is not None
        assert row.accuracy is not None
        middle, low, high = row.clients_per_second
        body.append(
            (
                _name(row),
                f"{_number(middle)} ({_number(low)} to {_number(high)})",
                f"{middle / slowest.clients_per_second[0]:.2g}",
                f"{row.first_round_seconds:.1f}",
                f"{100 * row.accuracy:.2f}",
                f"{row.relative_difference:.0e}",
                _load(row),
            )
        )
    header = (
        results["works"][work]["title"],
        "clients/s (lowest to highest)",
        "times the loop",
        "first round, s",
        "accuracy, %",
        "difference of weights",
        "foreign load",
    )
    return _table(header, body)


def _rounds(results: Results) -> str:
    body = []
    for work in _IDLE:
        for row in rows(results, work):
            middle, low, high = (seconds_text(value) for value in row.seconds_per_round)
            body.append(
                (
                    f"{results['works'][work]['title']}: {_name(row)}",
                    f"{middle} ({low} to {high})",
                    f"{row.first_round_seconds:.1f}",
                    _load(row),
                )
            )
    header = ("", "a round (lowest to highest)", "first round, s", "foreign load")
    return _table(header, body)


def _steps(results: Results) -> str:
    body = [
        (
            f"{results['works'][row['work']]['title']}: {row['way']}",
            f"{row['microseconds']:.1f}",
            f"{row['times_faster']:.1f}",
            f"{row['relative_difference']:.0e}",
        )
        for row in results.get("local_step", [])
    ]
    return _table(("", "µs a step", "times the loop", "difference of weights"), body)


def _partition(results: Results) -> str:
    body = []
    for row in results.get("partition", []):
        clients = row["num_clients"]
        body.append(
            (
                f"{clients:,}",
                seconds_text(row["partition_seconds"]),
                f"{1e6 * row['partition_seconds'] / clients:.0f}",
                f"{row['partition_megabytes']:.1f}",
                f"{1e6 * row['partition_megabytes'] / clients:.0f}",
                f"{row['partition_peak_megabytes']:.0f}",
                f"{row['cohort_milliseconds']:.3f}",
            )
        )
    header = (
        "clients",
        "to partition",
        "µs a client",
        "partition, MB",
        "bytes a client",
        "peak while partitioning, MB",
        "to draw a cohort, ms",
    )
    return _table(header, body)


def _memory(results: Results) -> str:
    body = [
        (
            f"{row['num_clients']:,}",
            f"{row['server_before_megabytes']:.0f}",
            f"{row['server_megabytes']:.0f}",
            f"{row['worker_megabytes']:.0f}",
            f"{row['round_milliseconds']:.1f}",
        )
        for row in results.get("memory", [])
    ]
    header = (
        "clients",
        "server before the run, MB",
        "server, MB",
        "a worker, MB",
        "a round, ms",
    )
    return _table(header, body)


def _exactness(results: Results) -> str:
    body = [
        (
            row["between"],
            f"{row['median']:.1e}",
            f"{row['largest']:.1e}",
            f"{row['within_rule']} of {row['clients']}",
        )
        for row in results.get("exactness", [])
    ]
    return _table(("", "median", "largest", "clients within 2e-6"), body)


def _commands(results: Results, name: str) -> str:
    body = [
        (
            f"`python -m fedprox.main {_quoted(row['command'])}`",
            f"{row['wall_seconds']:.1f}",
            f"{100 * row['engine_shares'][-1]:.1f}",
        )
        for row in results.get(name, [])
    ]
    return _table(("", "seconds", "engine's share of the last run, %"), body)


def _quoted(command: str) -> str:
    return " ".join(f"'{part}'" if part.startswith("+") else part for part in command.split())


def _name(row: Row) -> str:
    return f"**{row.title}**" if row.is_ours else row.title


def _load(row: Row) -> str:
    """Write the foreign load, bold where it was too high."""
    text = f"{row.foreign_load:.0%}"
    return text if row.is_quiet else f"**{text}**"


def _number(value: float) -> str:
    """Write a rate with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(results: Results, file: Path) -> None:
    """Draw clients a second of every system on every work that trains, on one log scale."""
    panels = {work: its for work in _TRAINING if (its := rows(results, work))}
    if not panels:
        return
    with flowerbed_style():
        height = 0.8 + sum(0.55 + 0.32 * len(its) for its in panels.values())
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.subplots(
            len(panels),
            sharex=True,
            squeeze=False,
            height_ratios=[len(its) for its in panels.values()],
        )
        for axis, (work, its) in zip(axes[:, 0], panels.items(), strict=True):
            _draw_panel(axis, results["works"][work]["title"], its)
        every = [row.clients_per_second for its in panels.values() for row in its]
        # Room for the labels at the right end of the longest bar.
        axes[-1, 0].set_xlim(
            min(low for _, low, _ in every) / 3, max(high for *_, high in every) * 4
        )
        axes[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes[-1, 0].set_xlabel("clients trained / s")
        save_figure(figure, file)


def _draw_panel(axis: Axes, title: str, its: Sequence[Row]) -> None:
    places = range(len(its))
    middles = [row.clients_per_second[0] for row in its]
    ends = [
        (
            row.clients_per_second[0] - row.clients_per_second[1],
            row.clients_per_second[2] - row.clients_per_second[0],
        )
        for row in its
    ]
    axis.barh(
        places,
        middles,
        xerr=list(zip(*ends, strict=True)),
        # So pale that the ends are seen over the bars, on a dark page, too.
        color=[(_OURS if row.is_ours else _PEERS, 0.6) for row in its],
        error_kw={"elinewidth": 1, "alpha": 0.7},
        height=0.7,
    )
    for place, row in zip(places, its, strict=True):
        middle, _, high = row.clients_per_second
        axis.annotate(
            _number(middle), (high, place), xytext=(5, 0), textcoords="offset points", va="center"
        )
    axis.set_yticks(places, [row.title for row in its])
    for label, row in zip(axis.get_yticklabels(), its, strict=True):
        label.set_fontweight("bold" if row.is_ours else "normal")
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_title(title)
