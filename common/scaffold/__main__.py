"""Begin a baseline: `python -m common.scaffold NAME`, or `make new-baseline name=NAME`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import common
from common.errors import StorageError, UserInputError
from common.scaffold.new_baseline import new_baseline

_ROOT = Path(common.__file__).parents[1]


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m common.scaffold",
        description="Begin a baseline: an app that runs, with tests and a page.",
    )
    parser.add_argument("name", help="of the package, such as fednova or my_method")
    options = parser.parse_args(arguments)
    try:
        made = new_baseline(options.name, _ROOT)
    except UserInputError as error:
        print(error, file=sys.stderr)
        return 2
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    for path in made:
        print(f"Made {path.relative_to(_ROOT)}")
    print(
        "Registered it in pyproject.toml: `make .venv/.ready` installs it.\n"
        f"Try it: python -m {options.name}.main +experiment=smoke\n"
        "What comes next: docs/new_baseline.md"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
