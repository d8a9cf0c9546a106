"""Inputs that are read a batch at a time, so that a data set need not fit into memory."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor


class Inputs(Protocol):
    """The inputs of some examples, numbered from 0."""

    def __len__(self) -> int:
        """Return how many examples there are."""

    def take(self, examples: Tensor) -> object:
        """Return the inputs of a batch, in the form that the model takes.

        Args:
            examples: Which, int64 on the CPU, shape [batch].

        Returns:
            On the model's device; as a rule a tensor of shape [batch, ...].
        """


class InMemory:
    """Inputs that are one tensor, on the model's device.

    Args:
        x: Shape [n, ...].
    """

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def __len__(self) -> int:
        return len(self._x)

    def take(self, examples: Tensor) -> Tensor:
        """Return the inputs of a batch: shape [batch, ...], given its examples, int64 [batch]."""
        return self._x[examples.to(self._x.device)]


class Rows(Protocol):
    """What an array has of which rows are read: a memory map, say."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Return a copy of some rows."""


class OnDisk:
    """Inputs of which each batch is read from a memory map, and made ready, when it is asked for.

    Args:
        stored: All rows.
        rows: Which of them are the examples, int64 [n].
        device: The model's.
        prepare: Turns stored inputs, on that device, into those of the model.
    """

    def __init__(
        self,
        stored: Rows,
        rows: NDArray[Any],
        device: torch.device,
        prepare: Callable[[Tensor], Tensor],
    ) -> None:
        self._stored = stored
        self._rows = rows
        self._device = device
        self._prepare = prepare

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, examples: Tensor) -> Tensor:
        """Return the inputs of a batch.

        Args:
            examples: Which, int64 on the CPU, shape [batch].

        Returns:
            What ``prepare`` makes of stored inputs of shape [batch, ...].
        """
        stored = torch.from_numpy(self._stored[self._rows[examples.numpy()]])
        return self._prepare(stored.to(self._device))
