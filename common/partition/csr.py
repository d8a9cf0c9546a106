"""Who owns which example: the realised partition of a training set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Examples of every client, in compressed sparse rows.

    Row i is client i: it owns ``indices[offsets[i]:offsets[i + 1]]``.

    Attributes:
        indices: Example numbers, shape [examples given], no number twice.
        offsets: Row boundaries, shape [num_clients + 1], from 0 to len(indices), not falling.
    """

    indices: IntArray
    offsets: IntArray

    @classmethod
    def from_rows(cls, rows: Sequence[IntArray]) -> "Partition":
        """Build from one array of example numbers a client, int64 [its examples]."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        indices = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
        return cls(indices, offsets)

    @classmethod
    def from_owners(cls, owners: IntArray, num_clients: int) -> "Partition":
        """Build from the owner of every example.

        Args:
            owners: In 0..num_clients-1, shape [num_examples].
            num_clients: Number of rows; those that own nothing are empty.

        Returns:
            The partition, the examples of a row rising.
        """
        indices = np.argsort(owners, kind="stable").astype(np.int64)
        sizes = np.bincount(owners, minlength=num_clients)
        return cls(indices, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    @property
    def num_clients(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> IntArray:
        """Examples of each client, shape [num_clients]."""
        return np.diff(self.offsets)

    def client(self, client: int) -> IntArray:
        """Example numbers of one client, a view of shape [sizes[client]]."""
        return self.indices[self.offsets[client] : self.offsets[client + 1]]
