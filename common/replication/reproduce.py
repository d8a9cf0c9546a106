"""A figure in one command: `python -m <baseline>.reproduce FIGURE ... [key=value ...]`.

Runs the sweep of conf/experiment/FIGURE.yaml into multirun/FIGURE, going on with what is there, and
draws the figure, the tables and a page of both there. The keys are those of
`python -m <baseline>.main`.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from common.errors import UserInputError
from common.experiment import cli
from common.experiment.run_files import CHANGEABLE
from common.replication.definition import Replication

_KEYS_OF_THE_COMMAND: Final = ("output_dir", "resume", "experiment", "hydra")

# Runs that differ in these are runs of the same figure.
_NEUTRAL_NAMES: Final = {
    *(key.partition(".")[0] for key in CHANGEABLE),
    *("seed", "repeat_num"),
}


def main(replication: Replication, arguments: Sequence[str]) -> int:
    """Run the command line of a baseline; returns the exit code, which is that of its `main`."""
    package, figures = replication.package, replication.figures
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}.reproduce",
        description="Run the sweep of conf/experiment/FIGURE.yaml into multirun/FIGURE, going on "
        "with what is there, and draw the figure, the tables and a page of both there. The keys "
        f"are those of `python -m {package}.main`.",
    )
    parser.add_argument("words", nargs="+", metavar="FIGURE | key=value", help=", ".join(figures))
    parser.add_argument(
        "--output", type=Path, default=Path("multirun"), help="folder for the figures' folders"
    )
    options = parser.parse_intermixed_args(arguments)
    keys = [word for word in options.words if "=" in word]
    names = [word for word in options.words if "=" not in word]
    try:
        _require_figures(names, list(figures))
        _require_keys_of_runs(keys, replication)
    except UserInputError as error:
        print(error, file=sys.stderr)
        return cli.USER_INPUT
    for name in names:
        code = _reproduce(replication, name, keys, options.output / name)
        if code != cli.COMPLETE:
            return code
    return cli.COMPLETE


def _reproduce(replication: Replication, name: str, keys: Sequence[str], folder: Path) -> int:
    # The front end of single runs and sweeps, which checks every run before the first one starts.
    quoted = str(folder).replace("'", r"\'")
    sys.argv[1:] = ["--multirun", f"+experiment={name}", f"output_dir='{quoted}'", *keys]
    code = cli.main(replication.package, replication.schema)
    if code == cli.COMPLETE:
        # Takes seconds: after what may be refused.
        from common.replication.report import report_runs

        changed = [key for key in keys if _name(key) not in _NEUTRAL_NAMES]
        report = partial(report_runs, replication, [folder], folder, name, changed)
        code = cli.exit_code(report, replication.schema)
    return code


def _require_figures(names: Sequence[str], figures: Sequence[str]) -> None:
    if not names:
        raise UserInputError(f"FIGURE is missing: it must be one of {', '.join(figures)}.")
    for name in names:
        if name not in figures:
            raise UserInputError(
                f"FIGURE={name!r} is not allowed: it must be one of {', '.join(figures)}."
            )


def _name(key: str) -> str:
    """Return the first part of a key's name: "++hydra.sweep.dir=a" -> "hydra"."""
    return re.split(r"\W", key.lstrip("+~"))[0]


def _require_keys_of_runs(keys: Sequence[str], replication: Replication) -> None:
    # What a figure tells runs apart by.
    names_of_sweeps = {*replication.compared_keys, *_NEUTRAL_NAMES}
    for key in keys:
        if "," in key and _name(key) not in names_of_sweeps:
            raise UserInputError(
                f"{key} is not allowed: it must be one value, for a figure does not tell arms "
                f"apart that differ in {_name(key)}."
            )
        if _name(key) in _KEYS_OF_THE_COMMAND:
            raise UserInputError(
                f"{key} is not allowed: it must be a key of the runs; --output says where their "
                "folders are, and the same command goes on with what is there."
            )
