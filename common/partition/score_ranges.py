"""Clients that differ in a score of their examples, such as the length of a text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.partition.csr import IntArray, Partition
from common.partition.rounding import even_sizes
from common.partition.validation import check_clients, check_count, refuse

ScoreArray = NDArray[np.floating[Any]]


def score_ranges(scores: ScoreArray, num_clients: int) -> Partition:
    """Sort the examples by score and cut them in consecutive ranges, one a client.

    Client 0 has the lowest scores, the last client the highest; sizes differ by at most one, the
    first clients' being larger. Of equal scores the lower example number comes first. Nothing is
    drawn, so a partition's seed has no say in it, and there is no such thing as alpha: the skew is
    the largest that equal sizes allow.

    This is how an earlier study of DistilBERT's failure modes makes its style skew and its token
    skew, with scores of texts.

    Args:
        scores: Score of every example, finite, shape [num_examples].
        num_clients: Number of clients, 1 <= num_clients <= num_examples.

    Returns:
        Every example exactly once.

    Raises:
        UserInputError: If a score is not finite, or an argument is outside its range.
    """
    scores = _checked(scores)
    check_clients(num_clients, len(scores))
    return Partition.from_owners(_cut(scores, num_clients), num_clients)


def score_quantiles(scores: ScoreArray, num_quantiles: int) -> IntArray:
    """Tell in which of equally filled ranges of scores every example is.

    These are classes on which the realised skew of a partition by score can be measured as that of
    labels is, by :func:`common.partition.statistics.summarise`.

    Args:
        scores: Score of every example, finite, shape [num_examples].
        num_quantiles: How many ranges, >= 1; 4 for quartiles.

    Returns:
        Ranges from 0, the lowest, to num_quantiles - 1, shape [num_examples]. They are those of
        :func:`score_ranges`; with more ranges than examples the last ones are empty.

    Raises:
        UserInputError: If a score is not finite, or num_quantiles is outside its range.
    """
    scores = _checked(scores)
    check_count("num_quantiles", num_quantiles, 1)
    return _cut(scores, num_quantiles)


def _cut(scores: ScoreArray, num_ranges: int) -> IntArray:
    """Return the range of every example, shape [num_examples]."""
    ranges = np.empty(len(scores), dtype=np.int64)
    ascending = np.argsort(scores, kind="stable")
    ranges[ascending] = np.repeat(np.arange(num_ranges), even_sizes(len(scores), num_ranges))
    return ranges


def _checked(scores: ScoreArray) -> ScoreArray:
    """Return the scores, and refuse what is not a list of finite numbers."""
    scores = np.asarray(scores)
    if scores.ndim != 1 or len(scores) == 0:
        refuse("scores.shape", scores.shape, "one-dimensional with at least one example")
    if not np.issubdtype(scores.dtype, np.floating):
        refuse("scores.dtype", scores.dtype, "a floating-point type")
    wrong = ~np.isfinite(scores)
    if wrong.any():
        example = int(wrong.argmax())
        refuse(f"scores[{example}]", scores[example], "finite")
    return scores
