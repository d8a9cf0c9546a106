"""Reading the folder of arrays that every system is given: plain NumPy files, memory-mapped."""

import json
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speed.work import Work


class Arrays:
    """The arrays of one work.

    Args:
        folder: What ``prepare.py`` made.
        work: Name of the work.
    """

    def __init__(self, folder: Path, work: str) -> None:
        self._folder = folder
        works = json.loads((folder / "works.json").read_text())
        self.work = Work(**works[work])

    def _load(self, name: str) -> NDArray:
        return np.load(self._folder / f"{name}.npy", mmap_mode="r")

    @cached_property
    def cohorts(self) -> NDArray[np.int64]:
        """Partition ids of every round's clients, rising, shape [num_rounds, K]."""
        return self._load(f"cohorts_{self.work.name}")

    @cached_property
    def _inputs(self) -> NDArray[np.float32]:
        return self._load("x_train")

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return self._load("y_train")

    @cached_property
    def _partition(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        name = self.work.partition
        return self._load(f"{name}_indices"), self._load(f"{name}_offsets")

    @cached_property
    def num_examples(self) -> list[int]:
        """Examples of every client; clients that train nothing count alike."""
        if not self.work.trains:
            return [1] * self.work.num_clients
        return np.diff(self._partition[1]).tolist()

    def client(self, client: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return a client's normalised inputs [n_k, 784] and labels [n_k]."""
        indices, offsets = self._partition
        examples = indices[offsets[client] : offsets[client + 1]]
        return self._inputs[examples], self._labels[examples]

    def test_set(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the normalised test inputs and labels."""
        return np.array(self._load("x_test")), np.array(self._load("y_test"))

    def initial_weights(self) -> dict[str, NDArray]:
        """Return the initial global model, by parameter name, in the model's order."""
        with np.load(self._folder / f"initial_{self.work.model}.npz") as file:
            return dict(file)


@lru_cache(maxsize=1)
def load_arrays(folder: str, work: str) -> Arrays:
    """Return the arrays of a work, opened once a process."""
    return Arrays(Path(folder), work)
