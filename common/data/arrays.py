"""A data set as arrays: what every loader returns and every partitioner starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common.partition import Partition


@dataclass(frozen=True)
class ArrayDataset:
    """A labelled data set, often memory-mapped read-only and shared by the workers of a host.

    Attributes:
        x_train: Inputs as stored, shape [train examples, ...]; images are uint8.
        y_train: Labels, int64, shape [train examples].
        x_test: Inputs, shape [test examples, ...].
        y_test: Labels, int64, shape [test examples].
        num_classes: Labels are 0..num_classes-1.
        natural_partition: The data set's own clients, for data that come with them.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    num_classes: int
    natural_partition: Partition | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], num_classes: int) -> Self:
        """Return the data set of four arrays, which have the names of its attributes.

        Args:
            arrays: "x_train", "y_train", "x_test" and "y_test".
            num_classes: Number of labels.
        """
        return cls(
            x_train=arrays["x_train"],
            y_train=arrays["y_train"],
            x_test=arrays["x_test"],
            y_test=arrays["y_test"],
            num_classes=num_classes,
        )
