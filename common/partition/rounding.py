"""Turns shares into whole numbers of examples that add up exactly.

Two rules, because they err differently. ``largest_remainder`` is closest to the shares in one row,
but rounds the same share the same way in every row. ``systematic`` is right on average, so many
rows with like shares use up like amounts.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.partition.csr import IntArray
from common.partition.validation import refuse


def even_sizes(total: int, parts: int) -> IntArray:
    """Cut ``total`` into sizes that differ by at most one, the larger ones first.

    Args:
        total: What is cut, >= 0.
        parts: How many sizes, >= 1.

    Returns:
        Sizes, shape [parts], adding up to ``total``.
    """
    return total // parts + (np.arange(parts) < total % parts).astype(np.int64)


def largest_remainder(shares: ArrayLike, totals: ArrayLike) -> IntArray:
    """Split totals in proportion to shares by the largest remainder method.

    It is Hamilton's (Balinski and Young 1982, Fair Representation).

    Every count is its exact share rounded down or up; those with the largest fractions are rounded
    up, the lower position first among equals. A share of zero gets nothing.

    Args:
        shares: Non-negative and finite, shape [..., n], n >= 1. A row need not add up to one.
        totals: Whole numbers >= 0, shape [...], up to 2**40.

    Returns:
        Counts, shape [..., n], each row adding up to its total.

    Raises:
        UserInputError: If a share is negative, or the sum of a row is 0 or not finite.
    """
    shares, totals = _checked(shares, totals)
    exact = shares / shares.sum(axis=-1, keepdims=True) * totals[..., None]
    counts: IntArray = np.floor(exact).astype(np.int64)
    # 0 <= missing < n: the floors lose less than one each, and below 2**40 the relative rounding
    # error of `exact` stays far below one example, so they cannot exceed the total.
    missing = totals - counts.sum(axis=-1)
    by_fraction = np.argsort(counts - exact, axis=-1, kind="stable")
    extra = (np.arange(shares.shape[-1]) < missing[..., None]).astype(np.int64)
    np.put_along_axis(
        counts, by_fraction, np.take_along_axis(counts, by_fraction, axis=-1) + extra, axis=-1
    )
    return counts


def systematic(shares: ArrayLike, totals: ArrayLike, rng: np.random.Generator) -> IntArray:
    """Split totals in proportion to shares by systematic sampling in random order.

    The shares of a row are laid end to end, in random order, on a line of length ``total``, and the
    points u, u + 1, u + 2, ... are counted in each, u uniform on [0, 1). Every count is its exact
    share rounded down or up, and its mean over draws is the exact share. A share of zero gets
    nothing.

    Args:
        shares: Non-negative and finite, shape [..., n], n >= 1. A row need not add up to one.
        totals: Whole numbers >= 0, shape [...], up to 2**40.
        rng: Source of randomness.

    Returns:
        Counts, shape [..., n], each row adding up to its total.

    Raises:
        UserInputError: If a share is negative, or the sum of a row is 0 or not finite.
    """
    shares, totals = _checked(shares, totals)
    # In one order for all rows neighbours would exclude each other: of 100 shares of 1/2 every row
    # would get either the even ones or the odd ones.
    order = np.argsort(rng.random(shares.shape), axis=-1)
    ends = np.cumsum(np.take_along_axis(shares, order, axis=-1), axis=-1)
    # Divided by its own last entry, so that this entry, and any before it when the last shares are
    # zero, is exactly one.
    points = ends / ends[..., -1:] * totals[..., None] + rng.random(totals.shape)[..., None]
    # total + u rounds up to total + 1 for a u close enough to one.
    edges = np.minimum(np.floor(points).astype(np.int64), totals[..., None])
    counts = np.empty(shares.shape, dtype=np.int64)
    np.put_along_axis(counts, order, np.diff(edges, axis=-1, prepend=0), axis=-1)
    return counts


def _checked(shares: ArrayLike, totals: ArrayLike) -> tuple[NDArray[np.float64], IntArray]:
    shares = np.asarray(shares, dtype=np.float64)
    if (shares < 0).any():
        refuse("shares", shares, "at least 0 everywhere")
    sums = shares.sum(axis=-1)
    if not np.isfinite(sums).all() or (sums == 0).any():
        refuse("shares", shares, "finite, with a sum above 0 in every row")
    return shares, np.asarray(totals, dtype=np.int64)
