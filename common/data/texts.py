"""A data set of texts, as the loaders of texts return it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TextDataset:
    """Labelled texts, in memory.

    Attributes:
        x_train: Texts to train with; a text may be empty.
        y_train: Labels, int64, shape [train examples].
        x_test: Texts to test with.
        y_test: Labels, int64, shape [test examples].
        class_names: Name of each label, in the labels' order.
        fingerprint: Tells what the texts were read from, and how, from anything else: a part of
            the key of whatever is computed from them and kept.
    """

    x_train: tuple[str, ...]
    y_train: NDArray[np.int64]
    x_test: tuple[str, ...]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """Labels are 0..num_classes-1."""
        return len(self.class_names)
