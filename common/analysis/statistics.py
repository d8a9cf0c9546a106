"""Numbers of one learning curve, and their mean over seeds with an interval."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common.analysis.runs import TAIL
from common.errors import UserInputError

Curve = NDArray[np.float64]

CONFIDENCE: Final = 0.95
# Li et al. 2020, appendix C.3: from one round to the next, and over ten rounds.
_CONVERGED: Final = 1e-4
_DIVERGED: Final = 1.0
_DIVERGENCE_ROUNDS: Final = 10


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % interval; NaN for one seed, or if a value is not finite.
        high: Upper end.
        n: Number of seeds.
    """

    value: float
    low: float
    high: float
    n: int


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean over seeds with Student's t interval.

    Args:
        values: One number a seed, shape [seeds].

    Raises:
        UserInputError: There is no seed.
    """
    n = len(values)
    if n == 0:
        raise UserInputError("values=[] is not allowed: it must hold at least one seed's.")
    with np.errstate(invalid="ignore"):  # The mean of inf and -inf is NaN.
        mean = float(np.mean(values))
    if n == 1 or not np.isfinite(values).all():
        return Estimate(mean, np.nan, np.nan, n)
    half = _spread(values) / np.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def prediction_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return where one further seed's number lies with a probability of 95 %.

    mean ± t s sqrt(1 + 1/n), with t the quantile of n - 1 degrees of freedom: for independent
    numbers of one normal distribution (Hahn and Meeker 1991, Statistical Intervals, chapter 4).

    Args:
        values: One number a seed, shape [seeds].

    Returns:
        Lower and upper end; NaN for one seed, or if a value is not finite.
    """
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    mean = float(np.mean(values))
    half = _spread(values) * np.sqrt(1 + 1 / n)
    return mean - half, mean + half


def paired_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Estimate:
    """Return the mean of a - b, seed by seed: what arms with the same seeds have in common cancels.

    Args:
        a: One number a seed, shape [seeds].
        b: Those of the other arm, in the same order, shape [seeds].

    Raises:
        UserInputError: The arms differ in their number of seeds, or there is none.
    """
    if len(a) != len(b):
        raise UserInputError(
            f"a paired difference of {len(a)} and {len(b)} seeds is not allowed: they must be the "
            "same."
        )
    with np.errstate(invalid="ignore"):  # inf - inf is NaN.
        return estimate(a - b)


def last(curve: Curve) -> float:
    """Return the value of the last round of a curve of shape [rounds]."""
    return float(curve[-1])


def best(curve: Curve) -> float:
    """Return the highest value of a curve of shape [rounds]; NaN only if there is no other."""
    return float(np.fmax.reduce(curve))


def tail_mean(curve: Curve, tail: int = TAIL) -> float:
    """Return the mean of the last rounds, or of all if there are fewer: single rounds are noise.

    It is NaN if a round's number is, such as that of a round which a stopped run did not come to:
    the last rounds that it had are no match for those of other runs.

    Args:
        curve: Shape [rounds].
        tail: How many rounds, >= 1.
    """
    return float(curve[-tail:].mean())


def rounds_to_target(accuracy: Curve, target: float) -> float:
    """Return how many rounds it takes to a target accuracy.

    The rule of McMahan et al. 2017 (arXiv 1602.05629), section 3: the curve is made monotone by
    taking the best value so far, and is linear between rounds that have a value.

    Args:
        accuracy: Shape [rounds], from round 1; NaN is a round without a value.
        target: Accuracy to reach.

    Returns:
        A number from 1, not whole in general; inf if the target is never reached.
    """
    places = np.flatnonzero(~np.isnan(accuracy))
    so_far = np.maximum.accumulate(accuracy[places])
    reached = np.flatnonzero(so_far >= target)
    if len(reached) == 0:
        return np.inf
    after = int(reached[0])
    if after == 0:
        return float(places[0] + 1)
    before = after - 1
    share = (target - so_far[before]) / (so_far[after] - so_far[before])
    return float(places[before] + 1 + (places[after] - places[before]) * share)


def fluctuation(curve: Curve) -> float:
    """Return the mean absolute change from one round to the next; NaN for a single round.

    Args:
        curve: Shape [rounds].
    """
    if len(curve) == 1:
        return np.nan
    with np.errstate(invalid="ignore"):  # inf - inf is NaN.
        return float(np.abs(np.diff(curve)).mean())


def convergence_round(train_loss: Curve) -> int:
    """Return the round in which a run has converged or diverged, or else its last.

    The rule of Li et al. 2020 (arXiv 1812.06127), section 5.2 and appendix C.3: with f_t the
    training loss after round t, a run has converged at the first t with
    ``|f_t - f_(t-1)| < 0.0001``, and diverged at the first t with f_t - f_(t-10) > 1, whichever
    comes first. Here, a loss that is not finite is divergence, too.

    Args:
        train_loss: f_1, f_2, ...: shape [rounds].
    """
    ended = ~np.isfinite(train_loss)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and has ended already.
        ended[1:] |= np.abs(train_loss[1:] - train_loss[:-1]) < _CONVERGED
        risen = train_loss[_DIVERGENCE_ROUNDS:] - train_loss[:-_DIVERGENCE_ROUNDS]
    ended[_DIVERGENCE_ROUNDS:] |= risen > _DIVERGED
    return int(np.argmax(ended)) + 1 if ended.any() else len(train_loss)


def at_convergence(curve: Curve, train_loss: Curve) -> float:
    """Return a curve's value in the round of :func:`convergence_round`.

    Args:
        curve: Shape [rounds].
        train_loss: As for :func:`convergence_round`.
    """
    return float(curve[convergence_round(train_loss) - 1])


def _spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a seed times the quantile of Student's t."""
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, df=len(values) - 1)
    return float(quantile * np.std(values, ddof=1))
