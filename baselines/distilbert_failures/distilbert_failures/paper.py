"""Stored results -> report.tex with its figures: `python -m distilbert_failures.paper`; see --help.

All numbers of what was run are computed here; paper.tex has the words around them.
"""

import argparse
import os
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from common.analysis.quantities import Arm, Contrast, Contrasts
from common.analysis.results import Results
from common.analysis.statistics import Estimate, estimate
from common.analysis.verdicts import Finding
from common.durable import telling, write_atomically
from common.errors import StorageError, UserInputError
from common.replication import pages
from common.replication.comparison import compare
from common.replication.metrics import TEST_ACCURACY
from distilbert_failures.figures import FIGURES
from distilbert_failures.paper_audit import audit_latex
from distilbert_failures.paper_comparison import (
    DIVERGENCE,
    DIVERGENCE_TO_UPDATE,
    comparison_table,
)
from distilbert_failures.paper_figures import learning_curves
from distilbert_failures.paper_latex import prose
from distilbert_failures.paper_protocol import protocol_table, published_table
from distilbert_failures.replication import REPLICATION

_TEMPLATE: Final = Path(__file__).with_name("paper.tex")
# Experiments of the sections; the abstract is on the last of main and of failure that there is.
_MAIN: Final = ("minilm_main", "main")
_FAILURE: Final = ("minilm_failure", "failure")
_FURTHER: Final = ("lora", "scaffold")

_SKEWED: Final[Arm] = {"partition": "dirichlet_over_clients", "dirichlet_alpha": 0.1}
_FEDAVG: Final[Arm] = {"algorithm": "fedavg", **_SKEWED}
_FEDPROX: Final[Arm] = {"algorithm": "fedprox", **_SKEWED}
_USUAL: Final[Arm] = {**_FEDAVG, "learning_rate": 2e-5, "num_clients": 5}
_FAST: Final[Arm] = {**_FEDAVG, "learning_rate": 1e-3}


class _Template(string.Template):
    delimiter = "@"  # LaTeX has other uses for the dollar.


def write_paper(output: Path) -> None:
    """Write report.tex, and the figures that it shows beside it, from the stored results.

    Args:
        output: The folder.

    Raises:
        UserInputError: Stored results or claims.yaml are damaged, or lack what is compared.
        StorageError: A file cannot be written.
    """
    found = {name: Results.find(REPLICATION.results, name) for name in FIGURES}
    stored = {name: results for name, results in found.items() if results is not None}
    findings = pages.judge(REPLICATION, stored).findings
    with telling(output):
        output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "report.tex", compose(stored, findings, output).encode())


def compose(stored: Mapping[str, Results], findings: Sequence[Finding], output: Path) -> str:
    """Return the paper, and draw its figures.

    Args:
        stored: Results by the name of their experiment.
        findings: What they say of the claims; at least one.
        output: Takes the figures, PDF.

    Raises:
        UserInputError: The results lack what is compared.
        StorageError: A figure cannot be written.
    """
    audit = audit_latex(findings)
    return _Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        numbers=prose(_numbers(stored)),
        verdicts=audit.counts,
        published=published_table([finding.claim for finding in findings]),
        protocol=protocol_table({n: stored[n] for n in (*_MAIN, *_FAILURE) if n in stored}),
        main=_sections(_MAIN, stored, output),
        failure=_sections(_FAILURE, stored, output),
        further=_sections(_FURTHER, stored, output),
        claims=audit.tables,
    )


def _sections(experiments: Sequence[str], stored: Mapping[str, Results], output: Path) -> str:
    return "\n\n".join(_section(name, stored.get(name), output) for name in experiments)


def _section(experiment: str, results: Results | None, output: Path) -> str:
    """Return what the paper says of an experiment: question, cost, table and figure."""
    figure = FIGURES[experiment]
    told = f"\\subsection{{{prose(figure.title)}}}\n{prose(figure.question)}"
    name = prose(f"`{experiment}`")
    if results is None:
        return f"{told} This is experiment {name}; it has no stored results yet."
    panels = compare(REPLICATION, results)
    minutes = results.runs["seconds"].sum() / 60
    return "\n".join(
        [
            told,
            f"This is experiment {name}: {len(results.runs)} runs, {minutes:.0f} minutes one after "
            f"another (Table~\\ref{{tab:{experiment}}}, Fig.~\\ref{{fig:{experiment}}}).",
            comparison_table(experiment, results, panels),
            learning_curves(experiment, panels, output),
        ]
    )


def _numbers(stored: Mapping[str, Results]) -> str:
    """Return the abstract's sentences on what came out."""
    sentences: dict[str, list[str]] = {}
    for names, numbers in ((_MAIN, _main_numbers), (_FAILURE, _failure_numbers)):
        name = next((name for name in reversed(names) if name in stored), None)
        if name is not None:
            results = stored[name]
            sentences.setdefault(_setting(results), []).append(numbers(name, results))
    told = [" ".join([f"{setting}:", *of_it]) for setting, of_it in sentences.items()]
    return " ".join(told) or "No results are stored yet."


def _setting(results: Results) -> str:
    encoders = " and ".join(f"`{encoder}`" for encoder in results.runs["encoder"].unique())
    seeds = results.runs["seed"].nunique()
    rounds = results.runs["num_rounds"].min()
    return f"In {rounds} rounds with the encoder {encoders} and {seeds} seed{'s' * (seeds > 1)}"


def _main_numbers(name: str, results: Results) -> str:
    def gain(metric: str, relative: bool) -> Estimate:
        return _estimate(name, results, metric, _FEDPROX, _FEDAVG, relative)

    return (
        "at α = 0.1 FedProx differs from FedAvg by "
        f"{_interval(gain(TEST_ACCURACY.name, False), 100, '+.2f')} points of test accuracy, and "
        f"its client divergence by {_interval(gain(DIVERGENCE.name, True), 100, '+.1f')} %."
    )


def _failure_numbers(name: str, results: Results) -> str:
    def factor(metric: str) -> str:
        change = _estimate(name, results, metric, _FAST, _USUAL, relative=True)
        times = Estimate(1 + change.value, 1 + change.low, 1 + change.high, change.n)
        return _interval(times, 1, ".3g")

    return (
        f"A learning rate of 1e-3, 50 times the usual, multiplies FedAvg's divergence by "
        f"{factor(DIVERGENCE.name)}, and its divergence relative to the mean update by "
        f"{factor(DIVERGENCE_TO_UPDATE.name)}."
    )


def _estimate(
    name: str, results: Results, metric: str, arm: Arm, minus: Arm, relative: bool
) -> Estimate:
    quantity = Contrasts(
        statistic="tail_mean",
        metric=metric,
        tail=FIGURES[name].tail,
        relative=relative,
        contrasts=[Contrast(experiment=name, arm=arm, minus=minus)],
    )
    return estimate(quantity.by_seed({name: results}))


def _interval(mean: Estimate, scale: float, digits: str) -> str:
    """Return a mean with its 95 % interval, which one seed has none of."""
    value, low, high = (f"{scale * x:{digits}}" for x in (mean.value, mean.low, mean.high))
    return value if mean.n == 1 else f"{value} [{low}, {high}]"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m distilbert_failures.paper",
        description="Write report.tex, with its figures, from the stored results.",
    )
    default = REPLICATION.folder / "report"
    parser.add_argument(
        "--output", type=Path, default=default, help="folder (default: %(default)s)"
    )
    output = parser.parse_args(arguments).output
    # Otherwise Matplotlib writes the time into a PDF.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    try:
        write_paper(output)
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Paper: {(output / 'report.tex').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
