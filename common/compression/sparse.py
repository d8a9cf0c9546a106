"""A tensor of which some entries are sent, and the others are zero."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class SparseTensor:
    """The entries of a tensor that are sent.

    Attributes:
        indices: Their positions in the raveled tensor, rising, shape [count]; None for all.
        values: Their values in that order, shape [count].
        shape: Of the whole tensor.
    """

    indices: NDArray[np.int64] | None
    values: NDArray[np.float32]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Entries of the whole tensor."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Entries that are sent."""
        return len(self.values)

    def to_dense(self) -> NDArray[np.float32]:
        """Return the whole tensor, zeros where nothing is sent, in its shape."""
        if self.indices is None:
            return self.values.reshape(self.shape)
        dense = np.zeros(self.size, dtype=np.float32)
        dense[self.indices] = self.values
        return dense.reshape(self.shape)
