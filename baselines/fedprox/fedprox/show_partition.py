"""Look at a partition before training on it: `python -m fedprox.show_partition key=value ...`.

Takes the keys of `python -m fedprox.main`, prints how skewed the realised partition is, and saves
a picture of it, partition.png in the current folder unless --picture says otherwise.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from common.analysis.partition import plot_partition
from common.analysis.tables import markdown_table
from common.experiment import cli
from common.partition import label_counts, summarise
from fedprox.config import FedProxConfig
from fedprox.dataset import load_dataset


def show(overrides: Sequence[str], picture: Path) -> None:
    """Print and draw the partition of a configuration.

    Args:
        overrides: As on the command line, key=value.
        picture: Where to save the picture.

    Raises:
        UserInputError: A value is not allowed, or the partition is not possible.
    """
    config = cli.compose_config("fedprox", FedProxConfig, overrides)
    data = load_dataset(config)
    labels = data.arrays.y_train
    summary = asdict(summarise(data.partition, labels, data.num_classes))
    rows = [[name.replace("_", " "), _number(value)] for name, value in summary.items()]
    print(markdown_table([f"partition={config.partition}", "value"], rows))
    print("(total variation: from a client's mix of labels to that of all, 0 the same, 1 disjoint)")
    title = f"{config.dataset}, partition={config.partition}"
    plot_partition(label_counts(data.partition, labels, data.num_classes), picture, title)
    print(f"Picture: {picture.resolve()}")


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fedprox.show_partition", description="Look at a partition."
    )
    parser.add_argument("keys", nargs="*", metavar="key=value", help="as for fedprox.main")
    parser.add_argument("--picture", type=Path, default=Path("partition.png"), help="PNG or SVG")
    options = parser.parse_args(arguments)
    return cli.exit_code(lambda: show(options.keys, options.picture), FedProxConfig)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
