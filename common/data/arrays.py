"""A data set as arrays: what every loader returns and every partitioner starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common.partition import Partition


class ChosenRows:
    """Some rows of an array, in an order of their own, none of them copied before it is asked for.

    Args:
        stored: Shape [rows of the array, ...]; may be memory-mapped.
        rows: Which of its rows these are, int64 [rows]; all by default.

    Attributes:
        stored: As given, shape [rows of the array, ...].
        rows: As given or all, int64 [rows].
    """

    def __init__(self, stored: NDArray[Any], rows: NDArray[np.int64] | None = None) -> None:
        self.stored = stored
        self.rows = np.arange(len(stored)) if rows is None else rows
        # Indexing a memory map as such makes another memory map, which takes ten times as long.
        self._array = np.asarray(stored)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of rows.

        Args:
            index: Which of these rows, int64 [k].
        """
        chosen: NDArray[Any] = self._array[self.rows[index]]
        return chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array of these rows."""
        return (len(self), *self._array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._array.dtype


@dataclass(frozen=True)
class ImageDataset:
    """Labelled images that may be larger than memory: to be indexed with few at a time.

    Attributes:
        x_train: Images uint8, shape [train examples, height, width, 3], or what takes their place.
        y_train: Labels, int64, shape [train examples].
        x_test: Images, shape [test examples, height, width, 3].
        y_test: Labels, int64, shape [test examples].
        num_classes: Labels are 0..num_classes-1.
    """

    x_train: ChosenRows
    y_train: NDArray[np.int64]
    x_test: ChosenRows
    y_test: NDArray[np.int64]
    num_classes: int


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
            arrays: "x_train", "y_train", "x_test" and "y_test", in the shapes of the attributes.
            num_classes: Number of labels.
        """
        return cls(
            x_train=arrays["x_train"],
            y_train=arrays["y_train"],
            x_test=arrays["x_test"],
            y_test=arrays["y_test"],
            num_classes=num_classes,
        )
