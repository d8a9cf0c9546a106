"""Which entries of an update are sent."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.compression.density import DensitySchedule
from common.compression.sparse import SparseTensor, Tensors
from common.compression.top_k import at_least, top_k


class Sparsifier(ABC):
    """Chooses the entries of an update that are sent."""

    @abstractmethod
    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return what is sent of each tensor, in the update's order.

        Args:
            update: Finite, of any shapes.
            round: From 1.
            rng: Drawn from by a sparsifier that chooses at random only.
        """


@dataclass(frozen=True)
class Keep(Sparsifier):
    """Every entry."""

    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return every entry of each tensor."""
        return {
            name: SparseTensor(None, values.reshape(-1), values.shape)
            for name, values in update.items()
        }


@dataclass(frozen=True)
class Threshold(Sparsifier):
    """The entries with ``|v| >= threshold``: as many as there are, so perhaps none.

    Attributes:
        threshold: >= 0, and compared as a float32.
    """

    threshold: float

    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return the entries of each tensor with ``|v| >= threshold``."""
        threshold = np.float32(self.threshold)
        return {
            name: _entries_at(at_least(values.reshape(-1), threshold), values)
            for name, values in update.items()
        }


@dataclass(frozen=True)
class TopK(Sparsifier):
    """The k = max(1, round(density n)) entries of largest magnitude of each tensor of n entries.

    Ties go to the lowest index. Lin et al. 2018 (arXiv 1712.01887, algorithm 1) choose the same
    share of every layer; they take the k-th magnitude of a sample, here it is exact.

    Attributes:
        schedule: The density of each round.
    """

    schedule: DensitySchedule

    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return the k entries of largest magnitude of each tensor."""
        density = self.schedule.at(round)
        sent = {}
        for name, values in update.items():
            (indices,) = top_k([values.reshape(-1)], _num_sent(values.size, density))
            sent[name] = _entries_at(indices, values)
        return sent


@dataclass(frozen=True)
class GlobalTopK(Sparsifier):
    """The k = max(1, round(density n)) entries of largest magnitude of all n of an update.

    Ties go to the first tensor, and in it to the lowest index. A tensor may send nothing.

    Attributes:
        schedule: The density of each round.
    """

    schedule: DensitySchedule

    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return the k entries of largest magnitude of all tensors together."""
        k = _num_sent(_num_entries(update.values()), self.schedule.at(round))
        chosen = top_k([values.reshape(-1) for values in update.values()], k)
        return {
            name: _entries_at(indices, values)
            for (name, values), indices in zip(update.items(), chosen, strict=True)
        }


@dataclass(frozen=True)
class RandomK(Sparsifier):
    """k = max(1, round(density n)) entries of each tensor of n, every set of k equally likely.

    Attributes:
        schedule: The density of each round.
        scaled: Send n / k times the entries, so that the mean over the draws is the update. Error
            feedback wants them unscaled: with it, n / k - 1 times an entry would be kept negated.
    """

    schedule: DensitySchedule
    scaled: bool

    def sparsify(
        self, update: Tensors, round: int, rng: np.random.Generator
    ) -> dict[str, SparseTensor]:
        """Return k entries of each tensor, drawn without replacement."""
        density = self.schedule.at(round)
        sent = {}
        for name, values in update.items():
            n = values.size
            k = _num_sent(n, density)
            indices = np.sort(rng.choice(n, k, replace=False, shuffle=False))
            entries = _entries_at(indices, values)
            if self.scaled and k < n:
                scaled = entries.values * np.float32(n / k)
                entries = SparseTensor(entries.indices, scaled, entries.shape)
            sent[name] = entries
        return sent


def _num_entries(tensors: Iterable[NDArray[np.float32]]) -> int:
    return sum(values.size for values in tensors)


def _num_sent(num_entries: int, density: float) -> int:
    return max(1, round(density * num_entries)) if num_entries else 0


def _entries_at(indices: NDArray[np.int64], values: NDArray[np.float32]) -> SparseTensor:
    """Return these entries of a tensor; all of them without indices, which weigh something."""
    flat = values.reshape(-1)
    if len(indices) == len(flat):
        return SparseTensor(None, flat, values.shape)
    return SparseTensor(indices, flat[indices], values.shape)
