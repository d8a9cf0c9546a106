"""Refuses arguments that no partition can honour, before any work is done."""

import math
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from common.errors import UserInputError
from common.partition.csr import IntArray

LabelArray = NDArray[np.integer[Any]]


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the error every check raises: the argument, its value, and what it must be.

    Raises:
        UserInputError: Always.
    """
    raise UserInputError(f"{name}={value} is not allowed: it must be {allowed}.")


def check_count(name: str, value: int, minimum: int) -> None:
    """Refuse anything but a whole number of at least ``minimum``.

    Raises:
        UserInputError: ``value`` is something else.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < minimum:
        refuse(name, value, f"a whole number of at least {minimum}")


def check_alpha(alpha: float) -> None:
    """Refuse a Dirichlet concentration that is not a finite number above 0.

    Raises:
        UserInputError: ``alpha`` is none.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        refuse("alpha", alpha, "a finite number above 0")


def check_sigma(sigma: float) -> None:
    """Refuse a standard deviation that is not a finite number of at least 0.

    Raises:
        UserInputError: ``sigma`` is none.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        refuse("sigma", sigma, "a finite number of at least 0")


def check_clients(num_clients: int, num_examples: int) -> None:
    """Refuse fewer than one client, and more clients than examples.

    Raises:
        UserInputError: There are none, or too many.
    """
    check_count("num_examples", num_examples, 1)
    check_count("num_clients", num_clients, 1)
    if num_clients > num_examples:
        refuse("num_clients", num_clients, f"at most the number of examples, {num_examples}")


def check_min_partition_size(min_partition_size: int, num_clients: int, num_examples: int) -> None:
    """Refuse a smallest client that there are not enough examples for.

    Raises:
        UserInputError: ``min_partition_size`` is too large, or no whole number from 0.
    """
    check_count("min_partition_size", min_partition_size, 0)
    if min_partition_size * num_clients > num_examples:
        most = num_examples // num_clients
        allowed = f"at most {most}, {num_examples} examples / {num_clients} clients"
        refuse("min_partition_size", min_partition_size, allowed)


def check_labels(labels: LabelArray) -> IntArray:
    """Return the labels as int64, and refuse what is not a list of class numbers from 0.

    Args:
        labels: Class of every example, shape [num_examples], num_examples >= 1.

    Returns:
        The same labels, int64, shape [num_examples].

    Raises:
        UserInputError: If they are not a non-empty, one-dimensional array of integers >= 0.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        refuse("labels.shape", labels.shape, "one-dimensional with at least one example")
    if not np.issubdtype(labels.dtype, np.integer):
        refuse("labels.dtype", labels.dtype, "an integer type")
    if labels.min() < 0:
        refuse("labels.min()", labels.min(), "at least 0")
    return labels.astype(np.int64, copy=False)
