"""Random weights, kept as logarithms.

A Dirichlet draw of small alpha has entries like 1e-4000, and a lognormal of large sigma entries
like 1e4000. As floats all entries of a draw may then be 0 or infinite, and their proportions NaN;
as logarithms they are ordinary numbers.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Beyond these the draws have long reached their limits (one weight has everything; all are equal),
# and only the arithmetic on the logarithms would overflow.
_SMALLEST_ALPHA = 1e-250
_LARGEST_ALPHA = 1e250
_LARGEST_SIGMA = 1e250


def log_dirichlet(
    alpha: float, prior: FloatArray, num_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Draw from Dir(alpha * prior), as logarithms up to a constant a row.

    Args:
        alpha: Concentration, finite and above 0.
        prior: Above 0, shape [n].
        num_draws: Number of draws.
        rng: Source of randomness.

    Returns:
        Finite log weights, shape [num_draws, n].
    """
    concentration = min(max(alpha, _SMALLEST_ALPHA), _LARGEST_ALPHA) * prior
    shape = (num_draws, len(prior))
    # Gamma(a) is Gamma(a + 1) * U**(1/a) in distribution, for every a > 0, and -log(U) is
    # Exponential(1). Unlike Gamma(a) itself neither factor's logarithm is ever minus infinity.
    gammas = rng.standard_gamma(concentration + 1.0, shape)
    logs: FloatArray = np.log(gammas) - rng.standard_exponential(shape) / concentration
    return logs


def log_lognormal(
    sigma: float, shape: int | tuple[int, ...], rng: np.random.Generator
) -> FloatArray:
    """Draw from lognormal(0, sigma), as logarithms.

    Args:
        sigma: Standard deviation of the logarithm, finite and at least 0.
        shape: Shape of the result.
        rng: Source of randomness.

    Returns:
        Finite log weights, in the shape asked for.
    """
    return min(sigma, _LARGEST_SIGMA) * rng.standard_normal(shape)


def proportions(log_weights: FloatArray) -> FloatArray:
    """Turn log weights into shares of one.

    Args:
        log_weights: Shape [..., n]; minus infinity stands for a weight of zero. At least one entry
            of a row is finite.

    Returns:
        Shares, shape [..., n], each row adding up to one.
    """
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    shares: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return shares
