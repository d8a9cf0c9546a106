"""Look at a partition before training on it: `python -m fedprox.show_partition key=value ...`.

Takes the keys of `python -m fedprox.main`, prints how skewed the realised partition is, and saves
a picture of it as partition.png below the current folder.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from common.analysis.partition import plot_partition
from common.analysis.tables import markdown_table
from common.experiment import cli
from common.partition import label_counts, summarise
from fedprox.config import FedProxConfig
from fedprox.dataset import load_dataset


def show(overrides: list[str]) -> None:
    """Print and draw the partition of a configuration.

    Raises:
        UserInputError: A value is not allowed, or the partition is not possible.
    """
    config = cli.compose_config("fedprox", FedProxConfig, overrides)
    data = load_dataset(config)
    labels = data.arrays.y_train
    summary = asdict(summarise(data.partition, labels, data.num_classes))
    rows = [[name.replace("_", " "), _number(value)] for name, value in summary.items()]
    print(markdown_table([f"partition={config.partition}", "value"], rows))
    path = Path("partition.png")
    title = f"{config.dataset}, partition={config.partition}"
    plot_partition(label_counts(data.partition, labels, data.num_classes), path, title)
    print(f"Picture: {path.resolve()}")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(cli.exit_code(lambda: show(sys.argv[1:]), FedProxConfig))
