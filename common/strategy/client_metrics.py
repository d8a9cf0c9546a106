"""What clients measured of their own models, over the clients of a round."""

from collections.abc import Mapping, Sequence
from typing import Final

_LESS_IS_BETTER: Final = ("loss", "skipped-steps")


class ClientMetrics:
    """Mean and worst of each number.

    Every client counts alike, whatever its examples. Of a number whose name ends in "loss" or
    "skipped-steps" less is better, of any other more, such as of an accuracy.

    Args:
        names: As in the clients' replies, such as "test-accuracy" and "train-loss".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._values: dict[str, list[float]] = {name: [] for name in names}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add the numbers of a client, each of the names at least."""
        for name, values in self._values.items():
            values.append(metrics[name])

    def result(self) -> dict[str, float | None]:
        """Return the mean and the worst of each; None where no client was added.

        Those of "train-loss" are client_train_loss and worst_client_train_loss, its largest.
        """
        result: dict[str, float | None] = {}
        for name, values in self._values.items():
            key = f"client_{name.replace('-', '_')}"
            result[key] = sum(values) / len(values) if values else None
            worst = max if name.endswith(_LESS_IS_BETTER) else min
            result[f"worst_{key}"] = worst(values, default=None)
        return result
