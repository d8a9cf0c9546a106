"""What clients measured of their own models, over the clients of a round."""

from collections.abc import Mapping, Sequence


class ClientMetrics:
    """Mean and worst of numbers of which more is better, such as accuracies.

    Every client counts alike, whatever its examples.

    Args:
        names: As in the clients' replies, such as "test-accuracy".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._values: dict[str, list[float]] = {name: [] for name in names}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add the numbers of a client, each of the names at least."""
        for name, values in self._values.items():
            values.append(metrics[name])

    def result(self) -> dict[str, float | None]:
        """Return the mean and the least of each; None where no client was added.

        Those of "test-accuracy" are client_test_accuracy and worst_client_test_accuracy.
        """
        result: dict[str, float | None] = {}
        for name, values in self._values.items():
            key = f"client_{name.replace('-', '_')}"
            result[key] = sum(values) / len(values) if values else None
            result[f"worst_{key}"] = min(values, default=None)
        return result
