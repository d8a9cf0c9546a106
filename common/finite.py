"""Whether numbers are numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_finite(w: NDArray[Any]) -> bool:
    """Whether there is neither NaN nor infinity in an array of any shape.

    Either shows in the sum, which costs half of asking each number. A sum that only overflowed is
    looked into.

    Returns:
        True for an array without entries, too.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(w.sum()) or np.isfinite(w).all())
